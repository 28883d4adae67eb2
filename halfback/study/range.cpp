#include "halfback/study/range.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace halfback {

namespace {

double between_logs(double low, double high, double coordinate) {
  return low * std::pow(high / low, coordinate);
}

}  // namespace

double Range::value(double coordinate) const {
  // Each whole number has an equal part of the coordinates, or of their logarithms.
  const double end = is_integer ? high + 1.0 : high;
  switch (scale) {
    case Scale::Linear: {
      const double found = low + coordinate * (end - low);
      return is_integer ? std::floor(found) : found;
    }
    case Scale::Log: {
      const double found = between_logs(low, end, coordinate);
      return is_integer ? std::clamp(std::floor(found), low, high) : found;
    }
    case Scale::ReverseLog:
      return 1.0 - between_logs(1.0 - low, 1.0 - high, coordinate);
  }
  return low;
}

void check(const Range& range, const std::string& where) {
  const auto require = [&](bool holds, const char* expected) {
    if (!holds) {
      throw ConfigError(fmt::format("{}: the range is from {:g} to {:g}; expected {}", where,
                                    range.low, range.high, expected));
    }
  };
  require(std::isfinite(range.low) && std::isfinite(range.high) && range.low < range.high,
          "finite numbers, the lower one first");
  require(range.scale != Range::Scale::Log || range.low > 0.0, "numbers above 0 for the log scale");
  require(range.scale != Range::Scale::ReverseLog || range.high < 1.0,
          "numbers below 1 for the reverse-log scale");
  require(!range.is_integer ||
              (range.low == std::floor(range.low) && range.high == std::floor(range.high) &&
               range.scale != Range::Scale::ReverseLog),
          "whole numbers on a linear or log scale");
}

}  // namespace halfback
