// What replicas of the weights exchange, as seen from one rank: equal values, gradient sums over
// all replicas of a stage and over tied parameters, and shards of the optimizer's state.
#pragma once

#include "halfback/engine/device.h"
#include "halfback/engine/gradient_reduction.h"
#include "halfback/engine/model_layout.h"
#include "halfback/engine/sharded_buffer.h"
#include "halfback/engine/stage.h"
#include "halfback/group/group.h"
#include "halfback/schedule/placement.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace halfback {

// The stages of a rank, by number.
using RankStageMap = std::map<int, std::unique_ptr<Stage>>;

// All ranks that hold a replica of a stage make the same calls, from their own threads.
class Replicas {
 public:
  // What it works on; all must outlive it.
  struct Parts {
    const Placement& placement;
    const ModelLayout& layout;
    RankStageMap& stages;
    Group& world;  // of all ranks
    const RankDevice& device;
    bool shards_optimizer = false;
  };
  Replicas(int rank, const Parts& parts);

  // Gives the values of the first replica of each stage to the others.
  void copy_values();

  // Begins the sum of a stage's gradients over its replicas, without waiting. `action` is for its
  // span.
  void begin_reduction(const Action& action);

  // Finishes the gradients of all stages: zeroes what nothing has written, sums over the replicas
  // (begun or not), then over tied parameters. Returns the spans of the sums over replicas, by
  // stage.
  std::vector<Span> finish_gradients();

  // The same for one stage without parameters tied to another's.
  std::optional<Span> finish_gradient(int stage);

  // If this rank's shard of the optimizer has updated a part of a stage, begins to send its values
  // to the other replicas and to receive theirs. Two ranks may update their stages in different
  // orders, so it does not wait.
  void begin_share(int stage);
  // Waits for all that were begun.
  void finish_shares();

  // Completes the optimizer's state of the chosen replicas of a stage, from the shards of all
  // replicas. Returns that of this rank's replica; nothing if it is not chosen.
  using IsChosen = std::function<bool(int stage, int replica)>;
  std::optional<std::vector<ShardedBuffer>> gather_update_state(int stage,
                                                                const IsChosen& is_chosen);

 private:
  void begin_unbegun(int stage);
  // This rank's replica of a stage is its own member of the group.
  Group& replicas_of(int stage) { return replicas_.at(stage); }
  void share_tied_gradient(const TiedPair& tied, Group& both);

  int rank_;
  Parts parts_;
  std::map<int, Group> replicas_;  // by stage of this rank: those that hold it
  // By pair and replica, if this rank holds either: the ranks of original and copy.
  std::map<std::pair<std::size_t, int>, Group> ties_;
  std::map<int, GradientReduction> sums_;  // by stage, if there are several replicas
  std::vector<std::unique_ptr<Exchange>> shares_;
};

}  // namespace halfback
