#include "halfback/measure/flop_costs.h"

#include "halfback/simulate/simulator.h"

#include <numeric>

namespace halfback {

namespace {

StageCost cost_of(const StageFlops& flops, const StageGradients& gradients) {
  StageCost cost{.forward = static_cast<double>(flops.layers.forward + flops.head.forward),
                 .input = 0.0,
                 .weight = 0.0};
  for (const StageGradient& gradient : gradients.all) {
    const bool is_spared = !gradient.continues;
    const std::int64_t own = gradient.is_own ? flops.head.input : 0;
    const std::int64_t through = flops.layers.input - (is_spared ? flops.layers.spared_input : 0);
    const auto input = static_cast<double>(own + (gradient.is_carried ? through : 0));
    if (gradient.is_own && gradients.all.size() > 1) {
      cost.own_input = input;
    } else {
      cost.input = input;
    }
    const std::int64_t weight = flops.layers.weight - (is_spared ? flops.layers.spared_weight : 0);
    cost.weight += static_cast<double>((gradient.is_taken ? weight : 0) +
                                       (gradient.is_own ? flops.head.weight : 0));
  }
  return cost;
}

}  // namespace

CostModel flop_costs(const std::vector<StageFlops>& stages, const Losses& losses) {
  CostModel costs{.stages = {}};
  const auto num_stages = static_cast<int>(stages.size());
  for (int stage = 0; stage < num_stages; ++stage) {
    costs.stages.push_back(
        cost_of(stages[static_cast<std::size_t>(stage)], gradients_of(losses, num_stages, stage)));
  }
  return costs;
}

StepFlops step_flops(const Schedule& schedule, const std::vector<StageFlops>& stages) {
  const CostModel costs = flop_costs(stages, schedule.losses);
  const SimulateOptions options{.validates = false, .keeps_timeline = false};
  const SimulationResult step = simulate(schedule, costs, options);
  return {.total = std::accumulate(step.busy.begin(), step.busy.end(), 0.0),
          .parallel = has_updates(schedule)
                          ? steady_step(schedule, costs, schedule.num_ranks(), options).period
                          : step.makespan};
}

}  // namespace halfback
