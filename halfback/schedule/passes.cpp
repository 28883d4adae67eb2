#include "halfback/schedule/passes.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
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
                  .ranks = {},
                  .losses = schedule.losses};
  for (const auto& list : schedule.ranks) {
    rewrite(list, result.ranks.emplace_back());
  }
  return result;
}

// Appends the replicas of one of several pipelines.
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
    std::erase_if(list, [](const Action& action) { return action.kind == ActionKind::Update; });
    for (Action& action : list) {
      action.micro_batch += pipeline * schedule.num_micro_batches;
    }
    result.push_back(std::move(list));
  }
}

// Appends what these losses make of an action of backprop: an I for each gradient of its stage, and
// these and W instead of B if there are several.
void append_by_losses(const Losses& losses, const Action& action, std::vector<Action>& list) {
  const bool is_split = action.kind == ActionKind::Backward && losses.names_losses(action.stage);
  if (is_split || action.kind == ActionKind::BackwardInput) {
    const std::vector<Action> inputs = inputs_for_all(losses, action.as(ActionKind::BackwardInput));
    list.insert(list.end(), inputs.begin(), inputs.end());
  } else if (action.kind == ActionKind::Forward || losses.has_backward(action.stage)) {
    list.push_back(action);
  }
  if (is_split) {
    list.push_back(action.as(ActionKind::BackwardWeight));
  }
}

// Of each stage that a list reduces.
Schedule with_updates_at_the_end(const Schedule& schedule) {
  return rewrite_lists(schedule, [](const auto& list, auto& result) {
    result = list;
    for (const Action& action : list) {
      if (action.kind == ActionKind::ReduceGradient) {
        result.push_back(action.as(ActionKind::Update));
      }
    }
  });
}

}  // namespace

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
                  .ranks = {},
                  .losses = schedule.losses};
  for (int pipeline = 0; pipeline < num_pipelines; ++pipeline) {
    append_placement(schedule, pipeline, result.placement);
    append_lists(schedule, pipeline, result.ranks);
  }
  result = add_gradient_reductions(result);
  return has_updates(schedule) ? add_updates(result) : result;
}

Schedule add_updates(const Schedule& schedule) {
  if (has_updates(schedule)) {
    throw ConfigError(
        fmt::format("{}: it has U already; leave --stage-updates out", schedule.name));
  }
  if (schedule.placement.num_replicas() > 1) {
    return with_updates_at_the_end(add_gradient_reductions(schedule));
  }
  std::vector<int> num_left(static_cast<std::size_t>(schedule.num_stages()),
                            schedule.num_micro_batches);
  return rewrite_lists(schedule, [&](const auto& list, auto& result) {
    for (const Action& action : list) {
      result.push_back(action);
      if (adds_weight_gradient(action.kind) &&
          --num_left[static_cast<std::size_t>(action.stage)] == 0) {
        result.push_back({ActionKind::Update, action.stage, 0});
      }
    }
  });
}

Schedule repeat_steps(const Schedule& schedule, int num_steps) {
  if (!has_updates(schedule)) {
    throw ConfigError(
        fmt::format("{}: without U all stages are updated after the last action of all, so R steps "
                    "take R times as long; --stage-updates on updates each stage after its own",
                    schedule.name));
  }
  if (num_steps < 1 || std::int64_t{num_steps} * schedule.num_micro_batches > kMaxIndex) {
    throw ConfigError(
        fmt::format("{}: {} steps of {} micro-batches; at least 1 step and at most {} "
                    "micro-batches in all",
                    schedule.name, num_steps, schedule.num_micro_batches, kMaxIndex));
  }
  Schedule result = rewrite_lists(schedule, [&](const auto& list, auto& repeated) {
    repeated.reserve(list.size() * static_cast<std::size_t>(num_steps));
    for (int step = 0; step < num_steps; ++step) {
      for (Action action : list) {
        action.micro_batch += has_micro_batch(action.kind) ? step * schedule.num_micro_batches : 0;
        repeated.push_back(action);
      }
    }
  });
  result.num_micro_batches *= num_steps;
  const std::vector<int>& replica_of = schedule.placement.replica_of_micro_batch;
  for (int step = 1; step < num_steps; ++step) {
    result.placement.replica_of_micro_batch.insert(result.placement.replica_of_micro_batch.end(),
                                                   replica_of.begin(), replica_of.end());
  }
  return result;
}

Schedule forward_only(const Schedule& schedule, int num_micro_batches) {
  const Placement placement = single_replica(schedule.placement.replicas.front());
  Schedule result{.name = schedule.name,
                  .num_micro_batches = num_micro_batches,
                  .placement = placement,
                  .ranks = std::vector<std::vector<Action>>(schedule.ranks.size()),
                  .losses = schedule.losses};
  for (int tick = 0; tick < schedule.num_stages() + num_micro_batches - 1; ++tick) {
    const int first_stage = std::max(0, tick - num_micro_batches + 1);
    for (int stage = first_stage; stage <= std::min(tick, schedule.num_stages() - 1); ++stage) {
      const Action forward{ActionKind::Forward, stage, tick - stage};
      auto& list = result.ranks[static_cast<std::size_t>(placement.rank_of(forward))];
      if (const auto receive = needed_receive(result, forward)) {
        list.push_back(*receive);
      }
      list.push_back(forward);
      if (const auto send = resulting_send(result, forward)) {
        list.push_back(*send);
      }
    }
  }
  return result;
}

Schedule with_losses(const Schedule& schedule, const Losses& losses) {
  HALFBACK_CHECK(schedule.losses.is_backprop() && !has_messages(schedule), schedule.name);
  Schedule result = rewrite_lists(schedule, [&](const auto& list, auto& kept) {
    for (const Action& action : list) {
      append_by_losses(losses, action, kept);
    }
  });
  result.losses = losses;
  return result;
}

Schedule on_one_rank(const Schedule& schedule) {
  const int num_stages = schedule.num_stages();
  Schedule result{
      .name = schedule.name,
      .num_micro_batches = schedule.num_micro_batches,
      .placement = single_replica(std::vector<int>(static_cast<std::size_t>(num_stages), 0)),
      .ranks = {{}},
      .losses = schedule.losses};
  const auto add_backward = [&](ActionKind kind, int micro_batch) {
    for (int stage = num_stages; stage-- > 0;) {
      append_by_losses(schedule.losses, {kind, stage, micro_batch}, result.ranks.front());
    }
  };
  for (int micro_batch = 0; micro_batch < schedule.num_micro_batches; ++micro_batch) {
    for (int stage = 0; stage < num_stages; ++stage) {
      result.ranks.front().push_back({ActionKind::Forward, stage, micro_batch});
    }
    add_backward(ActionKind::BackwardInput, micro_batch);
    add_backward(ActionKind::BackwardWeight, micro_batch);
  }
  return result;
}

}  // namespace halfback
