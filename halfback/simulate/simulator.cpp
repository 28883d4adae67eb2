#include "halfback/simulate/simulator.h"

#include "halfback/base/error.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"
#include "halfback/simulate/clock.h"

#include <fmt/format.h>

#include <array>

namespace halfback {

namespace {

// The costs of all stages and kinds, side by side.
class CostTable {
 public:
  CostTable(const CostModel& costs, const Schedule& schedule) {
    for (int stage = 0; stage < schedule.num_stages(); ++stage) {
      auto& row = by_stage_.emplace_back();
      for (int kind = 0; kind < kNumActionKinds; ++kind) {
        row[static_cast<std::size_t>(kind)] = costs.stage(stage).of(static_cast<ActionKind>(kind));
      }
      row.back() = costs.stage(stage).of(Action{ActionKind::BackwardInput, stage, 0}.with_loss(0));
      row[static_cast<std::size_t>(ActionKind::ReduceGradient)] =
          costs.reduction(stage, schedule.placement.num_replicas());
    }
  }

  double operator()(const Action& action) const {
    const auto& row = by_stage_[static_cast<std::size_t>(action.stage)];
    const bool is_own = action.kind == ActionKind::BackwardInput && action.loss == 1;
    return row[is_own ? row.size() - 1 : static_cast<std::size_t>(action.kind)];
  }

 private:
  // The last is that of the I of the stage's own loss, if the stage has several.
  std::vector<std::array<double, kNumActionKinds + 1>> by_stage_;
};

void check_request(const Schedule& schedule,
                   const CostModel& costs,
                   const SimulateOptions& options) {
  costs.check(schedule);
  if (options.channel.streams != Streams::None) {
    throw ConfigError(fmt::format(
        "simulate: times under {} are unknown; expected buffered, rendezvous or a number of "
        "messages; verify says whether a schedule runs under it",
        to_string(options.channel)));
  }
  if (options.validates) {
    validate(schedule, {.channel = options.channel});
  }
  if (options.channel != kBuffered && !has_messages(schedule)) {
    throw ConfigError(fmt::format(
        "simulate: channels are {}, but the schedule has no sends and receives; add them first",
        to_string(options.channel)));
  }
}

template <typename Clock>
void run_lists(const Schedule& schedule, const SimulateOptions& options, Clock& clock) {
  const DryRun run = dry_run(
      schedule, options.channel, [&clock](Position position) { clock.run(position); },
      [&clock](const std::set<int>& stages) { return clock.run_reduction(stages); });
  if (!run.finished) {
    // Validation reports which ranks wait for each other.
    validate(schedule, {.channel = options.channel});
    HALFBACK_CHECK(run.finished, "a schedule that validates has stopped");
  }
  clock.run_after_lists();
}

template <typename Duration>
SimulationResult simulate_with(const Schedule& schedule,
                               const CostModel& costs,
                               Duration duration,
                               const SimulateOptions& options) {
  check_request(schedule, costs, options);
  detail::Clock<Duration, false> clock(schedule, costs, std::move(duration), options);
  run_lists(schedule, options, clock);
  SimulationResult result;
  clock.finish(result);
  result.bubble_fraction = idle_fraction(result.busy, result.makespan);
  result.stage_step_bubble_fraction = idle_fraction(result.busy, result.stage_step);
  result.held = held_peaks(schedule);
  return result;
}

// `run` simulates a schedule.
template <typename Run>
SteadyStep steady_of(const Schedule& schedule, int num_steps, Run run) {
  const double warm_up = run(repeat_steps(schedule, num_steps)).makespan;
  const double period = (run(repeat_steps(schedule, 2 * num_steps)).makespan - warm_up) / num_steps;
  return {period, idle_fraction(run(repeat_steps(schedule, 1)).busy, period)};
}

}  // namespace

std::vector<std::vector<Action>> detail::actions_after_lists(const Schedule& schedule,
                                                             const CostModel& costs) {
  std::vector<std::vector<Action>> result(schedule.ranks.size());
  const Placement& placement = schedule.placement;
  const auto add = [&](ActionKind kind, int replica, int micro_batch) {
    for (int stage = 0; stage < placement.num_stages(); ++stage) {
      if (schedule.losses.has_backward(stage)) {
        result[static_cast<std::size_t>(placement.rank_of(stage, replica))].push_back(
            {kind, stage, micro_batch});
      }
    }
  };
  const auto some = [&](auto has_cost) {
    return std::any_of(costs.stages.begin(), costs.stages.end(), has_cost);
  };
  const bool reduces = placement.num_replicas() > 1 && !has_reductions(schedule) &&
                       some([](const StageCost& cost) { return cost.has_reduction(); });
  const bool updates =
      !has_updates(schedule) && some([](const StageCost& cost) { return cost.update > 0.0; });
  const auto micro_batches = micro_batches_by_replica(placement, schedule.num_micro_batches);
  for (int replica = 0; reduces && replica < placement.num_replicas(); ++replica) {
    add(ActionKind::ReduceGradient, replica,
        micro_batches[static_cast<std::size_t>(replica)].front());
  }
  for (int replica = 0; updates && replica < placement.num_replicas(); ++replica) {
    add(ActionKind::Update, replica, 0);
  }
  return result;
}

SimulationResult simulate(const Schedule& schedule,
                          const CostModel& costs,
                          const SimulateOptions& options) {
  costs.check(schedule);
  return simulate_with(schedule, costs, CostTable(costs, schedule), options);
}

SteadyStep steady_step(const Schedule& schedule,
                       const CostModel& costs,
                       int num_steps,
                       const SimulateOptions& options) {
  if (options.validates) {
    validate(schedule, {.channel = options.channel});
  }
  return steady_of(schedule, num_steps, [&](const Schedule& steps) {
    return simulate(steps, costs,
                    {.channel = options.channel, .validates = false, .keeps_timeline = false});
  });
}

SteadyStep steady_step(const Schedule& schedule, const Durations& durations, int num_steps) {
  return steady_of(schedule, num_steps, [&](const Schedule& steps) {
    return simulate(steps, durations, 0.0, {.validates = false, .keeps_timeline = false});
  });
}

SimulationResult simulate(const Schedule& schedule,
                          const Durations& durations,
                          double latency,
                          const SimulateOptions& options) {
  const CostModel costs{.latency = latency};
  return simulate_with(
      schedule, costs, [&durations](const Action& action) { return durations(action); }, options);
}

std::vector<Position> critical_path(const Schedule& schedule,
                                    const CostModel& costs,
                                    const SimulateOptions& options) {
  check_request(schedule, costs, options);
  SimulateOptions without_spans = options;
  without_spans.keeps_timeline = false;
  detail::Clock<CostTable, true> clock(schedule, costs, CostTable(costs, schedule), without_spans);
  run_lists(schedule, options, clock);
  return clock.critical_path();
}

}  // namespace halfback
