#include "halfback/schedule/passes.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace halfback {

namespace {

// Returns the schedule with rewrite(list, result) filling each rank's new list.
template <typename Rewrite>
Schedule rewrite_lists(const Schedule& schedule, Rewrite rewrite) {
  Schedule result{.name = schedule.name,
                  .num_micro_batches = schedule.num_micro_batches,
                  .placement = schedule.placement,
                  .ranks = {}};
  for (const auto& list : schedule.ranks) {
    rewrite(list, result.ranks.emplace_back());
  }
  return result;
}

// Appends the replicas of one of many pipelines of a schedule.
void append_placement(const Schedule& schedule, int pipeline, Placement& result) {
  for (std::vector<int> ranks : schedule.placement.replicas) {
    std::for_each(ranks.begin(), ranks.end(),
                  [&](int& rank) { rank += pipeline * schedule.num_ranks(); });
    result.replicas.push_back(std::move(ranks));
  }
  for (int micro_batch = 0; micro_batch < schedule.num_micro_batches; ++micro_batch) {
    result.replica_of_micro_batch.push_back(pipeline * schedule.placement.num_replicas() +
                                            schedule.placement.replica_of(micro_batch));
  }
}

void append_lists(const Schedule& schedule,
                  int pipeline,
                  std::vector<std::vector<Action>>& result) {
  for (std::vector<Action> list : schedule.ranks) {
    for (Action& action : list) {
      if (action.kind == ActionKind::Update) {
        throw ConfigError(fmt::format(
            "data parallelism: {} updates a stage inside the step; with replicas of the weights "
            "updates come after the last action",
            to_string(action)));
      }
      action.micro_batch += pipeline * schedule.num_micro_batches;
    }
    result.push_back(std::move(list));
  }
}

}  // namespace

Schedule remove_communication(const Schedule& schedule) {
  return rewrite_lists(schedule, [](const auto& list, auto& result) {
    for (const Action& action : list) {
      if (!is_message(action.kind)) {
        result.push_back(action);
      }
    }
  });
}

Schedule merge_backward(const Schedule& schedule) {
  return rewrite_lists(schedule, [](const auto& list, auto& result) {
    for (const Action& action : list) {
      const Action input{ActionKind::BackwardInput, action.stage, action.micro_batch};
      if (action.kind == ActionKind::BackwardWeight && !result.empty() && result.back() == input) {
        result.back().kind = ActionKind::Backward;
      } else {
        result.push_back(action);
      }
    }
  });
}

Schedule split_backward(const Schedule& schedule) {
  return rewrite_lists(schedule, [](const auto& list, auto& result) {
    for (const Action& action : list) {
      if (action.kind == ActionKind::Backward) {
        result.push_back({ActionKind::BackwardInput, action.stage, action.micro_batch});
        result.push_back({ActionKind::BackwardWeight, action.stage, action.micro_batch});
      } else {
        result.push_back(action);
      }
    }
  });
}

Schedule number_by_replica(const Schedule& schedule) {
  const auto by_replica = micro_batches_by_replica(schedule.placement, schedule.num_micro_batches);
  std::vector<int> new_name(static_cast<std::size_t>(schedule.num_micro_batches));
  Placement placement{.replicas = schedule.placement.replicas};
  int next = 0;
  for (std::size_t replica = 0; replica < by_replica.size(); ++replica) {
    for (const int micro_batch : by_replica[replica]) {
      new_name[static_cast<std::size_t>(micro_batch)] = next++;
      if (by_replica.size() > 1) {
        placement.replica_of_micro_batch.push_back(static_cast<int>(replica));
      }
    }
  }
  Schedule result = rewrite_lists(schedule, [&](const auto& list, auto& renamed) {
    for (Action action : list) {
      action.micro_batch = new_name[static_cast<std::size_t>(action.micro_batch)];
      renamed.push_back(action);
    }
  });
  result.placement = std::move(placement);
  return result;
}

Schedule add_gradient_reductions(const Schedule& schedule) {
  const Placement& placement = schedule.placement;
  if (placement.num_replicas() < 2 || has_reductions(schedule)) {
    return schedule;
  }
  const auto micro_batches = micro_batches_by_replica(placement, schedule.num_micro_batches);
  std::vector<std::size_t> num_added(placement.replicas.size() *
                                     static_cast<std::size_t>(schedule.num_stages()));
  return rewrite_lists(schedule, [&](const auto& list, auto& result) {
    std::optional<Action> due;
    const auto reduce = [&] {
      if (due) {
        result.push_back(*due);
        due.reset();
      }
    };
    for (const Action& action : list) {
      if (!is_send(action.kind)) {
        reduce();
      }
      result.push_back(action);
      const auto replica = static_cast<std::size_t>(placement.replica_of(action.micro_batch));
      const std::vector<int>& own = micro_batches[replica];
      if (adds_weight_gradient(action.kind) &&
          ++num_added[replica * static_cast<std::size_t>(schedule.num_stages()) +
                      static_cast<std::size_t>(action.stage)] == own.size()) {
        due = Action{ActionKind::ReduceGradient, action.stage, own.front()};
      }
    }
    reduce();
  });
}

Schedule data_parallel(const Schedule& schedule, int num_pipelines) {
  const std::int64_t most = std::max(schedule.num_ranks(), schedule.num_micro_batches);
  if (num_pipelines < 1 || num_pipelines * most > kMaxIndex ||
      num_pipelines * num_actions(schedule) > kMaxActions) {
    throw ConfigError(fmt::format(
        "data parallelism: {} pipelines of {} ranks and {} micro-batches; there is at "
        "least one, with at most {} of either and {} actions in all",
        num_pipelines, schedule.num_ranks(), schedule.num_micro_batches, kMaxIndex, kMaxActions));
  }
  if (num_pipelines == 1) {
    return schedule;
  }
  Schedule result{.name = schedule.name,
                  .num_micro_batches = num_pipelines * schedule.num_micro_batches,
                  .placement = {},
                  .ranks = {}};
  for (int pipeline = 0; pipeline < num_pipelines; ++pipeline) {
    append_placement(schedule, pipeline, result.placement);
    append_lists(schedule, pipeline, result.ranks);
  }
  return add_gradient_reductions(result);
}

Schedule forward_only(const Schedule& schedule, int num_micro_batches) {
  const Placement placement = single_copy(schedule.placement.replicas.front());
  Schedule result{.name = schedule.name,
                  .num_micro_batches = num_micro_batches,
                  .placement = placement,
                  .ranks = std::vector<std::vector<Action>>(schedule.ranks.size())};
  for (int tick = 0; tick < schedule.num_stages() + num_micro_batches - 1; ++tick) {
    const int first_stage = std::max(0, tick - num_micro_batches + 1);
    for (int stage = first_stage; stage <= std::min(tick, schedule.num_stages() - 1); ++stage) {
      const Action forward{ActionKind::Forward, stage, tick - stage};
      auto& list = result.ranks[static_cast<std::size_t>(placement.rank_of(forward))];
      if (const auto receive = needed_receive(placement, forward)) {
        list.push_back(*receive);
      }
      list.push_back(forward);
      if (const auto send = resulting_send(placement, forward)) {
        list.push_back(*send);
      }
    }
  }
  return result;
}

}  // namespace halfback
