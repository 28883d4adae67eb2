#include "halfback/schedule/placement.h"

#include <numeric>

namespace halfback {

std::vector<int> Placement::stages_of(int rank) const {
  std::vector<int> stages;
  for (int stage = 0; stage < num_stages(); ++stage) {
    if (rank_of(stage) == rank) {
      stages.push_back(stage);
    }
  }
  return stages;
}

Placement one_stage_per_rank(int num_ranks) {
  Placement placement;
  placement.rank_of_stage.resize(static_cast<std::size_t>(num_ranks));
  std::iota(placement.rank_of_stage.begin(), placement.rank_of_stage.end(), 0);
  return placement;
}

}  // namespace halfback
