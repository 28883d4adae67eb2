#include "halfback/simulate/local_cost.h"

#include "halfback/base/error.h"

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
    const StagePasses passes = schedule.losses.passes(stage);
    costs.stages.push_back({.forward = layers + head,
                            .input = layers * passes.at_input + head,
                            .weight = layers * (passes.at_weight + passes.taken) + head,
                            .full = std::nullopt});
  }
  costs.check(schedule);
  return costs;
}

double total_cost(const Schedule& schedule, const ForwardCosts& forward) {
  double total = 0.0;
  for (const StageCost& stage : local_costs(schedule, forward).stages) {
    total += stage.forward + stage.input + stage.weight;
  }
  return total * schedule.num_micro_batches;
}

}  // namespace halfback
