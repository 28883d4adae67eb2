// Schedules that nobody would write, and that are valid all the same.
#pragma once

#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/schedule.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <random>
#include <utility>
#include <vector>

namespace halfback::testing {

// Random numbers of a fixed seed.
class Dice {
 public:
  explicit Dice(unsigned seed) : random_(seed) {}
  int below(int limit) { return static_cast<int>(random_() % static_cast<std::uint32_t>(limit)); }
  bool toss() { return below(2) == 0; }
  double eighths(int most) { return below(most + 1) / 8.0; }

 private:
  std::mt19937 random_;
};

// Draws a loop, a wave, a mirrored pair of replicas, or any placement.
inline Placement random_placement(Dice& dice, int num_ranks, int num_micro_batches) {
  const int stages_per_rank = 1 + dice.below(3);
  std::vector<int> scattered;
  for (int i = 0; i < num_ranks * stages_per_rank; ++i) {
    scattered.push_back(i < num_ranks ? i : dice.below(num_ranks));
  }
  for (int i = num_ranks * stages_per_rank - 1; i > 0; --i) {
    std::swap(scattered[static_cast<std::size_t>(i)],
              scattered[static_cast<std::size_t>(dice.below(i + 1))]);
  }
  switch (dice.below(4)) {
    case 0:
      return looped_placement(num_ranks, stages_per_rank);
    case 1:
      return wave_placement(num_ranks, stages_per_rank);
    case 2: {
      if (num_ranks % 2 == 1 || num_micro_batches < 2) {
        return single_replica(
            scattered);  // both replicas would meet on a rank, or one would be idle
      }
      std::vector<int> replicas = {0, 1};
      while (static_cast<int>(replicas.size()) < num_micro_batches) {
        replicas.push_back(dice.below(2));
      }
      return mirrored(looped_placement(num_ranks, stages_per_rank), num_ranks, replicas);
    }
    default:
      return single_replica(scattered);
  }
}

// Moves each REDUCE_GRAD some places back in its list.
inline void delay_reductions(Dice& dice, Schedule& schedule) {
  for (std::vector<Action>& list : schedule.ranks) {
    for (std::size_t i = list.size(); i-- > 0;) {
      if (list[i].kind == ActionKind::ReduceGradient) {
        const auto places = dice.below(static_cast<int>(list.size() - i));
        std::rotate(list.begin() + static_cast<std::ptrdiff_t>(i),
                    list.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                    list.begin() + static_cast<std::ptrdiff_t>(i) + 1 + places);
      }
    }
  }
}

// Returns the schedule with U for each REDUCE_GRAD, somewhere behind it: ranks may wait for each
// other there.
inline Schedule with_updates_of_replicas(Dice& dice, Schedule schedule) {
  for (std::vector<Action>& list : schedule.ranks) {
    for (std::size_t i = list.size(); i-- > 0;) {
      if (list[i].kind == ActionKind::ReduceGradient) {
        const auto place =
            i + 1 + static_cast<std::size_t>(dice.below(static_cast<int>(list.size() - i)));
        list.insert(list.begin() + static_cast<std::ptrdiff_t>(place),
                    list[i].as(ActionKind::Update));
      }
    }
  }
  return schedule;
}

// Draws backprop, or any losses and what weights take of them.
inline Losses random_losses(Dice& dice, int num_stages) {
  if (dice.below(3) == 0) {
    return {};
  }
  std::vector<LossReach> losses;
  for (int stage = 0; stage < num_stages; ++stage) {
    if (stage + 1 == num_stages || dice.toss()) {
      losses.push_back({stage, dice.toss() ? std::max(0, stage - 1) : dice.below(stage + 2)});
    }
  }
  return {num_stages, std::move(losses), static_cast<WeightRule>(dice.below(3))};
}

// All actions that a schedule needs, with B, or I and W, by chance.
inline std::vector<Action> random_actions(Dice& dice, const Schedule& schedule) {
  std::vector<Action> actions;
  for (int stage = 0; stage < schedule.num_stages(); ++stage) {
    for (int i = 0; i < schedule.num_micro_batches; ++i) {
      actions.push_back({ActionKind::Forward, stage, i});
      if (!schedule.losses.has_backward(stage)) {
        continue;
      }
      const Action input{ActionKind::BackwardInput, stage, i};
      if (!schedule.losses.names_losses(stage) && dice.below(3) == 0) {
        actions.push_back(input.as(ActionKind::Backward));
        continue;
      }
      for (const Action& one : inputs_for_all(schedule.losses, input)) {
        actions.push_back(one);
      }
      actions.push_back(input.as(ActionKind::BackwardWeight));
    }
  }
  return actions;
}

enum class WithCuts { No, Yes };

// Grows lists by a random one of the actions that could be next: valid whatever comes.
inline Schedule random_schedule(Dice& dice, WithCuts with_cuts = WithCuts::No) {
  const int num_ranks = 1 + dice.below(4);
  const int num_micro_batches = 1 + dice.below(5);
  Schedule schedule{.name = "random",
                    .num_micro_batches = num_micro_batches,
                    .placement = random_placement(dice, num_ranks, num_micro_batches),
                    .ranks = {}};
  schedule.ranks.resize(static_cast<std::size_t>(num_ranks));
  if (with_cuts == WithCuts::Yes) {
    schedule.losses = random_losses(dice, schedule.num_stages());
  }
  std::vector<Action> left = random_actions(dice, schedule);
  const auto is_left = [&](const Action& action) {
    return std::find(left.begin(), left.end(), action) != left.end();
  };
  const auto is_possible = [&](const Action& action) {
    const Actions inputs = inputs_of(schedule, action);
    return std::none_of(inputs.begin(), inputs.end(), [&](const Action& input) {
      return is_left(input) ||
             (input.kind == ActionKind::BackwardInput && is_left(input.as(ActionKind::Backward)));
    });
  };
  while (!left.empty()) {
    std::vector<Action> possible;
    std::copy_if(left.begin(), left.end(), std::back_inserter(possible), is_possible);
    const Action done =
        possible[static_cast<std::size_t>(dice.below(static_cast<int>(possible.size())))];
    left.erase(std::find(left.begin(), left.end(), done));
    schedule.ranks[static_cast<std::size_t>(schedule.placement.rank_of(done))].push_back(done);
  }
  if (dice.below(4) == 0) {
    schedule = data_parallel(schedule, 2 + dice.below(2));
    delay_reductions(dice, schedule);
  } else if (dice.toss()) {
    schedule = add_gradient_reductions(schedule);
    delay_reductions(dice, schedule);
  }
  return schedule;
}

}  // namespace halfback::testing
