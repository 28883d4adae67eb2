#include "halfback/simulate/local_cost.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"

#include <fmt/format.h>

#include <algorithm>

namespace halfback {

namespace {

void check(const Schedule& schedule, const ForwardCosts& forward) {
  const auto num_stages = static_cast<std::size_t>(schedule.num_stages());
  if (forward.stages.size() != num_stages ||
      (!forward.heads.empty() && forward.heads.size() != num_stages)) {
    throw ConfigError(fmt::format(
        "cost: forwards of {} stages and {} heads for a schedule of {} stages; one of each for "
        "each, or no heads",
        forward.stages.size(), forward.heads.size(), num_stages));
  }
  const std::vector<int> with_loss = stages_with_loss(schedule.losses, schedule.num_stages());
  for (std::size_t stage = 0; stage < forward.heads.size(); ++stage) {
    const bool has_loss = std::ranges::find(with_loss, static_cast<int>(stage)) != with_loss.end();
    if (forward.heads[stage] != 0.0 && !has_loss) {
      throw ConfigError(fmt::format("cost: a head of {} on stage {}, which has no loss; give 0",
                                    forward.heads[stage], stage));
    }
  }
}

}  // namespace

CostModel local_costs(const Schedule& schedule, const ForwardCosts& forward) {
  check(schedule, forward);
  CostModel costs;
  costs.stages.clear();
  for (int stage = 0; stage < schedule.num_stages(); ++stage) {
    const auto i = static_cast<std::size_t>(stage);
    const double layers = forward.stages[i];
    const double head = forward.heads.empty() ? 0.0 : forward.heads[i];
    const Losses& losses = schedule.losses;
    const StagePasses passes = losses.passes(stage);
    StageCost cost{.forward = layers + head,
                   .input = layers * passes.carried + head,
                   .weight = layers * passes.taken + head};
    if (losses.names_losses(stage)) {
      cost.input = layers;
      cost.own_input = layers * (losses.is_carried(stage, 0) ? 1.0 : 0.0) + head;
    }
    costs.stages.push_back(cost);
  }
  costs.check(schedule);
  return costs;
}

double total_cost(const Schedule& schedule, const ForwardCosts& forward) {
  const CostModel costs = local_costs(schedule, forward);
  double total = 0.0;
  for (int number = 0; number < schedule.num_stages(); ++number) {
    const StageCost& stage = costs.stage(number);
    total += stage.forward + stage.weight;
    for (const Action& input :
         inputs_for_all(schedule.losses, {ActionKind::BackwardInput, number, 0})) {
      total += stage.of(input);
    }
  }
  return total * schedule.num_micro_batches;
}

}  // namespace halfback
