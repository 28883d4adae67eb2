#include "halfback/schedule/validate.h"

#include "halfback/base/error.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/deadlock.h"
#include "halfback/schedule/fault.h"
#include "halfback/schedule/list_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace halfback {

namespace {

void check_replicas(const Schedule& schedule, const std::string& where) {
  const Placement& placement = schedule.placement;
  for (const std::vector<int>& rank_of_stage : placement.replicas) {
    if (rank_of_stage.size() != placement.replicas.front().size()) {
      throw ScheduleError(fmt::format("{}: replicas of {} and {} stages; all have the same stages",
                                      where, placement.num_stages(), rank_of_stage.size()));
    }
  }
  const std::vector<int>& replica_of = placement.replica_of_micro_batch;
  const auto num_expected =
      static_cast<std::size_t>(placement.num_replicas() > 1 ? schedule.num_micro_batches : 0);
  if (replica_of.size() != num_expected) {
    throw ScheduleError(
        fmt::format("{}: the replica of {} micro-batches is given; there are {} micro-batches",
                    where, replica_of.size(), schedule.num_micro_batches));
  }
  std::vector<bool> has_some(placement.replicas.size(), placement.num_replicas() < 2);
  for (std::size_t i = 0; i < replica_of.size(); ++i) {
    if (replica_of[i] < 0 || replica_of[i] >= placement.num_replicas()) {
      throw ScheduleError(
          fmt::format("{}: micro-batch {} passes replica {}; the replicas are 0 to {}", where, i,
                      replica_of[i], placement.num_replicas() - 1));
    }
    has_some[static_cast<std::size_t>(replica_of[i])] = true;
  }
  const auto idle = std::find(has_some.begin(), has_some.end(), false);
  if (idle != has_some.end()) {
    throw ScheduleError(
        fmt::format("{}: no micro-batch passes replica {}; every replica needs at least one", where,
                    idle - has_some.begin()));
  }
}

// A rank and a stage together identify the replica, so a rank may hold only one replica of a stage.
void check_replicas_apart(const Schedule& schedule, const std::string& where) {
  if (schedule.placement.num_replicas() < 2) {
    return;
  }
  std::vector<std::pair<int, int>> held;
  for (const std::vector<int>& rank_of_stage : schedule.placement.replicas) {
    for (int stage = 0; stage < schedule.num_stages(); ++stage) {
      held.emplace_back(rank_of_stage[static_cast<std::size_t>(stage)], stage);
    }
  }
  std::sort(held.begin(), held.end());
  const auto twice = std::adjacent_find(held.begin(), held.end());
  if (twice != held.end()) {
    throw ScheduleError(fmt::format("{}: rank {} holds two replicas of stage {}; one is enough",
                                    where, twice->first, twice->second));
  }
}

void check_shape(const Schedule& schedule, const std::string& where) {
  const int num_ranks = schedule.num_ranks();
  if (num_ranks < 1 || schedule.num_stages() < 1 || schedule.num_micro_batches < 1) {
    throw ScheduleError(fmt::format(
        "{}: {} ranks, {} stages and {} micro-batches; there must be at least one of each", where,
        num_ranks, schedule.num_stages(), schedule.num_micro_batches));
  }
  check_replicas(schedule, where);
  check_replicas_apart(schedule, where);
  const Losses& losses = schedule.losses;
  if (!losses.is_backprop() && losses.num_stages() != schedule.num_stages()) {
    throw ScheduleError(fmt::format("{}: losses of {} stages for a schedule of {}", where,
                                    losses.num_stages(), schedule.num_stages()));
  }
  std::vector<bool> holds_stage(static_cast<std::size_t>(num_ranks), false);
  for (const std::vector<int>& rank_of_stage : schedule.placement.replicas) {
    for (std::size_t stage = 0; stage < rank_of_stage.size(); ++stage) {
      const int rank = rank_of_stage[stage];
      if (rank < 0 || rank >= num_ranks) {
        throw ScheduleError(fmt::format("{}: stage {} is placed on rank {}; the ranks are 0 to {}",
                                        where, stage, rank, num_ranks - 1));
      }
      holds_stage[static_cast<std::size_t>(rank)] = true;
    }
  }
  for (int rank = 0; rank < num_ranks; ++rank) {
    if (!holds_stage[static_cast<std::size_t>(rank)]) {
      throw ScheduleError(
          fmt::format("{}: rank {} holds no stage; every rank needs at least one", where, rank));
    }
  }
}

// No rank holds more activations between F and W than `limit`, in M_B.
void check_held(const Schedule& schedule, const std::string& where, double limit) {
  const double share = static_cast<double>(ranks_per_replica(schedule.placement)) /
                       static_cast<double>(schedule.num_stages());
  constexpr double kRounding = 1e-9;
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    int held = 0;
    Position position{rank, 0};
    for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
      held += kept_by(schedule.losses, action).until_weight;
      if (held * share > limit + kRounding) {
        detail::throw_fault(
            schedule, where, position,
            fmt::format("{} makes the rank hold the activations of {} micro-batches of a "
                        "stage, {:g} M_B; the limit is {:g} M_B",
                        to_string(action), held, held * share, limit));
      }
      ++position.index;
    }
  }
}

// Expects a valid schedule. Bisection works, because a larger capacity never stops a schedule that
// runs with a smaller one.
int smallest_capacity(const Schedule& schedule) {
  const auto runs = [&](int capacity) { return dry_run(schedule, {capacity}).finished; };
  if (runs(0)) {
    return 0;
  }
  int too_small = 0;
  int enough = 1;
  while (!runs(enough)) {
    too_small = enough;
    enough *= 2;
  }
  while (enough - too_small > 1) {
    const int middle = too_small + (enough - too_small) / 2;
    (runs(middle) ? enough : too_small) = middle;
  }
  return enough;
}

}  // namespace

void validate(const Schedule& schedule, const ValidateOptions& options) {
  check_shape(schedule, options.where);
  detail::check_lists(schedule, options.where);
  if (has_messages(schedule)) {
    detail::check_channel_order(schedule, options.where);
  }
  if (options.activation_limit) {
    check_held(schedule, options.where, *options.activation_limit);
  }
  const DryRun run = dry_run(schedule, options.channel);
  if (!run.finished) {
    detail::throw_deadlock(schedule, options.where, run.stopped_at, options.channel);
  }
}

int smallest_channel_capacity(const Schedule& schedule) {
  if (!has_messages(schedule)) {
    return smallest_capacity(add_communication(schedule));
  }
  validate(schedule);
  return smallest_capacity(schedule);
}

}  // namespace halfback
