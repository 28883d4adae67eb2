#include "halfback/schedule/placement.h"

#include <algorithm>
#include <utility>

namespace halfback {

std::vector<int> Placement::ranks_of(int stage) const {
  std::vector<int> ranks;
  for (const std::vector<int>& rank_of_stage : replicas) {
    ranks.push_back(rank_of_stage[static_cast<std::size_t>(stage)]);
  }
  return ranks;
}

std::vector<int> Placement::stages_of(int rank) const {
  std::vector<int> stages;
  for (const std::vector<int>& rank_of_stage : replicas) {
    for (int stage = 0; stage < num_stages(); ++stage) {
      if (rank_of_stage[static_cast<std::size_t>(stage)] == rank) {
        stages.push_back(stage);
      }
    }
  }
  return stages;
}

std::vector<std::vector<int>> micro_batches_by_replica(const Placement& placement,
                                                       int num_micro_batches) {
  std::vector<std::vector<int>> result(placement.replicas.size());
  for (int micro_batch = 0; micro_batch < num_micro_batches; ++micro_batch) {
    result[static_cast<std::size_t>(placement.replica_of(micro_batch))].push_back(micro_batch);
  }
  return result;
}

int ranks_per_replica(const Placement& placement) {
  std::vector<int> ranks = placement.replicas.front();
  std::sort(ranks.begin(), ranks.end());
  return static_cast<int>(std::unique(ranks.begin(), ranks.end()) - ranks.begin());
}

Placement single_replica(std::vector<int> rank_of_stage) {
  return {.replicas = {std::move(rank_of_stage)}};
}

Placement looped_placement(int num_ranks, int stages_per_rank) {
  std::vector<int> ranks;
  for (int loop = 0; loop < stages_per_rank; ++loop) {
    for (int rank = 0; rank < num_ranks; ++rank) {
      ranks.push_back(rank);
    }
  }
  return single_replica(std::move(ranks));
}

Placement wave_placement(int num_ranks, int stages_per_rank) {
  std::vector<int> ranks;
  for (int pass = 0; pass < stages_per_rank; ++pass) {
    for (int rank = 0; rank < num_ranks; ++rank) {
      ranks.push_back(pass % 2 == 0 ? rank : num_ranks - 1 - rank);
    }
  }
  return single_replica(std::move(ranks));
}

Placement mirrored(Placement placement, int num_ranks, std::vector<int> replica_of_micro_batch) {
  std::vector<int> mirror = placement.replicas.front();
  for (int& rank : mirror) {
    rank = num_ranks - 1 - rank;
  }
  placement.replicas.push_back(std::move(mirror));
  placement.replica_of_micro_batch = std::move(replica_of_micro_batch);
  return placement;
}

}  // namespace halfback
