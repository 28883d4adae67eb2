// The operations of a step, and how long it takes where each rank does one operation in a unit of
// time and messages take none: what a schedule could reach at best.
#pragma once

#include "halfback/layers/stage_layers.h"
#include "halfback/simulate/cost_model.h"

#include <vector>

namespace halfback {

// Returns a cost model whose times are operations, for schedules with these losses.
CostModel flop_costs(const std::vector<StageFlops>& stages, const Losses& losses);

struct StepFlops {
  double total = 0.0;     // of all ranks
  double parallel = 0.0;  // of the longest chain; without a barrier between steps, of a long run's
};
StepFlops step_flops(const Schedule& schedule, const std::vector<StageFlops>& stages);

}  // namespace halfback
