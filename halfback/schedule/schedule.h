// A schedule is data: which rank holds which stage, which stages the gradient of each loss reaches,
// and the ordered list of each rank's actions. It knows nothing of tensors, threads or clocks.
#pragma once

#include "halfback/schedule/action.h"
#include "halfback/schedule/losses.h"
#include "halfback/schedule/placement.h"

#include <cstdint>
#include <string>
#include <vector>

namespace halfback {

// The maximum number of actions in a schedule that families and passes make.
inline constexpr std::int64_t kMaxActions = std::int64_t{1} << 28;

struct Schedule {
  std::string name;  // family and variant, for people; "" when unknown
  int num_micro_batches = 0;
  Placement placement;
  std::vector<std::vector<Action>> ranks;
  Losses losses = {};  // none: backprop

  int num_ranks() const { return static_cast<int>(ranks.size()); }
  int num_stages() const { return placement.num_stages(); }
  bool operator==(const Schedule&) const = default;
};

// The place of an entry in the lists; both members are 0-based.
struct Position {
  int rank = 0;
  int index = 0;

  bool operator==(const Position&) const = default;
};

// Returns the action at a position that exists.
inline const Action& action_at(const Schedule& schedule, Position position) {
  return schedule
      .ranks[static_cast<std::size_t>(position.rank)][static_cast<std::size_t>(position.index)];
}

// Returns the number of actions of all ranks.
std::int64_t num_actions(const Schedule& schedule);

// True when some list holds a send or a receive.
bool has_messages(const Schedule& schedule);

// True when some list holds a ReduceGradient.
bool has_reductions(const Schedule& schedule);

// True when some list holds a BackwardInput.
bool is_two_stage(const Schedule& schedule);

// True when some list holds an Update: then stages are updated there, else after all lists.
bool has_updates(const Schedule& schedule);

// True when each replica of a stage runs its weight gradients (W or B) in ascending micro-batch
// order. Only then do its gradients equal those of the unpipelined run bit for bit, because the
// sums have the same order.
bool weight_gradients_ascend(const Schedule& schedule);

}  // namespace halfback
