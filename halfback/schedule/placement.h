// Which rank holds which stage.
#pragma once

#include <vector>

namespace halfback {

struct Placement {
  std::vector<int> rank_of_stage;  // indexed by stage, in model order

  int num_stages() const { return static_cast<int>(rank_of_stage.size()); }
  int rank_of(int stage) const { return rank_of_stage[static_cast<std::size_t>(stage)]; }
  // Returns the stages of a rank in model order.
  std::vector<int> stages_of(int rank) const;
  bool operator==(const Placement&) const = default;
};

// Returns the placement of one stage a rank: stage s on rank s.
Placement one_stage_per_rank(int num_ranks);

}  // namespace halfback
