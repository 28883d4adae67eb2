#include "halfback/measure/flop_costs.h"

#include "halfback/simulate/simulator.h"

#include <numeric>

namespace halfback {

namespace {

StageCost cost_of(const StageFlops& flops, const StageGradients& gradients) {
  StageCost cost{.forward = static_cast<double>(flops.layers.forward + flops.head.forward),
                 .input = 0.0,
                 .weight = 0.0};
  const auto through = static_cast<double>(flops.layers.input);
  for (const StageGradient& gradient : gradients.all) {
    const double own = gradient.is_own ? static_cast<double>(flops.head.input) : 0.0;
    const double input = own + (gradient.is_carried ? through : 0.0);
    if (gradient.is_own && gradients.all.size() > 1) {
      cost.own_input = input;
    } else {
      cost.input = input;
    }
    cost.weight += static_cast<double>((gradient.is_taken ? flops.layers.weight : 0) +
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
