#include "halfback/models/cut.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iterator>
#include <numeric>
#include <string_view>

namespace halfback {

std::vector<int> equal_cut(int num_blocks, int num_stages) {
  if (num_stages < 1 || num_blocks < num_stages) {
    throw ConfigError(fmt::format(
        "cut: {} blocks cannot be spread over {} stages; every stage needs at least one "
        "block; use at most {} stages or a deeper model",
        num_blocks, num_stages, num_blocks));
  }
  std::vector<int> cut(static_cast<std::size_t>(num_stages), num_blocks / num_stages);
  for (int stage = 0; stage < num_blocks % num_stages; ++stage) {
    ++cut[static_cast<std::size_t>(stage)];
  }
  return cut;
}

std::vector<int> parse_cut(const std::string& text, const CutShape& shape) {
  if (text.empty()) {
    return equal_cut(shape.num_blocks, shape.num_stages);
  }
  std::vector<int> cut;
  for (const std::string_view part : split(text, ',')) {
    const auto count = parse_integer(trim(part));
    if (!count || *count < 1 || *count > shape.num_blocks) {
      throw ConfigError(
          fmt::format("cut: '{}' is not a number of blocks; expected {} numbers from 1 that add up "
                      "to {}, as in "
                      "--cut {}",
                      part, shape.num_stages, shape.num_blocks,
                      fmt::join(equal_cut(shape.num_blocks, shape.num_stages), ",")));
    }
    cut.push_back(static_cast<int>(*count));
  }
  const int sum = std::accumulate(cut.begin(), cut.end(), 0);
  if (static_cast<int>(cut.size()) != shape.num_stages || sum != shape.num_blocks) {
    throw ConfigError(fmt::format(
        "cut: '{}' has {} stages and {} blocks; expected {} stages and {} blocks, as in "
        "--cut {}",
        text, cut.size(), sum, shape.num_stages, shape.num_blocks,
        fmt::join(equal_cut(shape.num_blocks, shape.num_stages), ",")));
  }
  return cut;
}

std::vector<int> first_blocks(const std::vector<int>& cut) {
  std::vector<int> first = {0};
  std::partial_sum(cut.begin(), cut.end(), std::back_inserter(first));
  return first;
}

std::vector<std::size_t> stages_of_blocks(const std::vector<int>& cut, std::int64_t num_blocks) {
  std::vector<std::size_t> stages;
  for (std::size_t stage = 0; stage < cut.size(); ++stage) {
    stages.resize(stages.size() + static_cast<std::size_t>(cut[stage]), stage);
  }
  HALFBACK_CHECK(static_cast<std::int64_t>(stages.size()) == num_blocks,
                 fmt::format("cut {}", fmt::join(cut, ",")));
  return stages;
}

}  // namespace halfback
