// Which rank holds which stage. Most schedules have one replica of the weights; some have several,
// each with all stages, and every micro-batch passes one of them.
#pragma once

#include "halfback/schedule/action.h"

#include <cstddef>
#include <vector>

namespace halfback {

struct Placement {
  // By replica, the rank of each stage in model order. All replicas have the same stages, and a
  // rank has each stage at most once.
  std::vector<std::vector<int>> replicas;
  // By micro-batch; empty for one replica. Each replica has at least one micro-batch.
  std::vector<int> replica_of_micro_batch = {};

  int num_replicas() const { return static_cast<int>(replicas.size()); }
  int num_stages() const {
    return replicas.empty() ? 0 : static_cast<int>(replicas.front().size());
  }
  int replica_of(int micro_batch) const {
    return replica_of_micro_batch.empty()
               ? 0
               : replica_of_micro_batch[static_cast<std::size_t>(micro_batch)];
  }
  // Returns the rank that holds a stage of a replica.
  int rank_of(int stage, int replica = 0) const {
    return replicas[static_cast<std::size_t>(replica)][static_cast<std::size_t>(stage)];
  }
  // Returns the rank whose list an action belongs to: the rank that holds its stage in its
  // micro-batch's replica.
  int rank_of(const Action& action) const {
    return rank_of(action.stage, replica_of(action.micro_batch));
  }
  // Returns the ranks that hold a stage, by replica.
  std::vector<int> ranks_of(int stage) const;
  // Returns the stages of a rank in model order, from the first replica on.
  std::vector<int> stages_of(int rank) const;
  bool operator==(const Placement&) const = default;
};

// Returns the micro-batches of each replica in ascending order; for one replica, all of the given
// number.
std::vector<std::vector<int>> micro_batches_by_replica(const Placement& placement,
                                                       int num_micro_batches);

// Returns the number of ranks that hold the first replica: the N of "1/N of the model".
int ranks_per_replica(const Placement& placement);

// Returns the placement of one replica.
Placement single_replica(std::vector<int> rank_of_stage);

// Returns stage s on rank s mod N: one stage per rank, or a loop if there are more.
Placement looped_placement(int num_ranks, int stages_per_rank = 1);

// Returns stages that go down the ranks, up again, and so on, once for each stage per rank: two per
// rank make a V, with stages s and 2N-1-s on rank s.
Placement wave_placement(int num_ranks, int stages_per_rank);

// Returns the placement and, as a second replica, its mirror image, with rank N-1-r for r. The
// micro-batches have the given replicas, 0 or 1.
Placement mirrored(Placement placement, int num_ranks, std::vector<int> replica_of_micro_batch);

}  // namespace halfback
