// A range of an option from which trials take values.
#pragma once

#include <string>

namespace halfback {

struct Range {
  // How a coordinate in [0, 1) becomes a value: evenly, evenly in the logarithm of the value, or
  // evenly in the logarithm of 1 - value, as for a momentum close to 1.
  enum class Scale { Linear, Log, ReverseLog };

  double low = 0.0;
  double high = 1.0;
  Scale scale = Scale::Linear;
  bool is_integer = false;  // whole numbers, both ends included; linear or log

  // Returns the value at a coordinate in [0, 1).
  double value(double coordinate) const;
};

// Throws ConfigError, beginning with `where`, unless low is below high, both are finite, above 0
// for a log scale and below 1 for a reverse one, and whole if the values are.
void check(const Range& range, const std::string& where);

}  // namespace halfback
