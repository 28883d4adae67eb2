// Schedules that nobody would write, and that are valid all the same.
#pragma once

#include "halfback/schedule/passes.h"
#include "halfback/schedule/schedule.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
        return single_copy(scattered);  // both replicas would meet on a rank, or one would be idle
      }
      std::vector<int> replicas = {0, 1};
      while (static_cast<int>(replicas.size()) < num_micro_batches) {
        replicas.push_back(dice.below(2));
      }
      return mirrored(looped_placement(num_ranks, stages_per_rank), num_ranks, replicas);
    }
    default:
      return single_copy(scattered);
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

// Grows lists by a random one of the actions that could be next: valid whatever comes.
inline Schedule random_schedule(Dice& dice) {
  const int num_ranks = 1 + dice.below(4);
  const int num_micro_batches = 1 + dice.below(5);
  Schedule schedule{.name = "random",
                    .num_micro_batches = num_micro_batches,
                    .placement = random_placement(dice, num_ranks, num_micro_batches),
                    .ranks = {}};
  schedule.ranks.resize(static_cast<std::size_t>(num_ranks));
  const int last = schedule.num_stages() - 1;
  std::vector<Action> possible;
  for (int i = 0; i < num_micro_batches; ++i) {
    possible.push_back({ActionKind::Forward, 0, i});
  }
  while (!possible.empty()) {
    const auto pick = possible.begin() + dice.below(static_cast<int>(possible.size()));
    const Action done = *pick;
    possible.erase(pick);
    schedule.ranks[static_cast<std::size_t>(schedule.placement.rank_of(done))].push_back(done);
    const auto backward = [&] {
      return dice.below(3) == 0 ? ActionKind::Backward : ActionKind::BackwardInput;
    };
    if (done.kind == ActionKind::Forward) {
      possible.push_back(done.stage < last
                             ? Action{ActionKind::Forward, done.stage + 1, done.micro_batch}
                             : Action{backward(), last, done.micro_batch});
    } else if (done.kind != ActionKind::BackwardWeight) {
      if (done.stage > 0) {
        possible.push_back({backward(), done.stage - 1, done.micro_batch});
      }
      if (done.kind == ActionKind::BackwardInput) {
        possible.push_back({ActionKind::BackwardWeight, done.stage, done.micro_batch});
      }
    }
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
