#include "halfback/schedule/numbering.h"

#include <algorithm>
#include <utility>

namespace halfback {

TensorCells::TensorCells(const Schedule& schedule)
    : losses_(&schedule.losses),
      num_micro_batches_(static_cast<std::size_t>(schedule.num_micro_batches)),
      begin_{0} {
  for (int stage = 0; stage < schedule.num_stages(); ++stage) {
    begin_.push_back(begin_.back() + num_gradient_places(*losses_, stage));
  }
}

Channels::Channels(const Placement& placement)
    : placement_(&placement),
      num_boundaries_(static_cast<std::size_t>(std::max(placement.num_stages(), 1)) - 1) {
  for (const std::vector<int>& ranks : placement.replicas) {
    for (std::size_t stage = 0; stage + 1 < ranks.size(); ++stage) {
      if (ranks[stage] != ranks[stage + 1]) {
        pairs_.emplace_back(ranks[stage], ranks[stage + 1]);
        pairs_.emplace_back(ranks[stage + 1], ranks[stage]);
      }
    }
  }
  std::sort(pairs_.begin(), pairs_.end());
  pairs_.erase(std::unique(pairs_.begin(), pairs_.end()), pairs_.end());
  const auto number = [&](int from, int to) {
    const auto place = std::lower_bound(pairs_.begin(), pairs_.end(), std::pair(from, to));
    return static_cast<int>(place - pairs_.begin());
  };
  for (const auto& [from, to] : pairs_) {
    reverse_.push_back(number(to, from));
  }
  for (const std::vector<int>& ranks : placement.replicas) {
    for (std::size_t stage = 0; stage + 1 < ranks.size(); ++stage) {
      forward_.push_back(number(ranks[stage], ranks[stage + 1]));
      backward_.push_back(number(ranks[stage + 1], ranks[stage]));
    }
  }
}

}  // namespace halfback
