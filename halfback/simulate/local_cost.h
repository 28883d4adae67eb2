// The costs of stages if several losses train a model, from the costs of their forwards. To carry a
// gradient through the layers of a stage costs as much as their forward, and to make the weight
// gradients from it as much again. So backprop costs three forwards.
//
// Every gradient that passes a stage is carried separately, so a stage costs 1 + passes (losses.h)
// forwards: greedy and chunked 3, a stage in two overlapping windows 5 (6 with a forward for each
// window), a pairwise interlocking one 4. A head costs 3 of its own forwards.
#pragma once

#include "halfback/simulate/cost_model.h"

#include <vector>

namespace halfback {

// For one micro-batch, in any unit of time or work.
struct ForwardCosts {
  std::vector<double> stages;      // the layers of each stage
  std::vector<double> heads = {};  // from a stage's output to its loss, inclusive; empty: 0
};

// Returns the costs of a schedule's stages. Throws ConfigError unless each stage has one of each,
// all are finite and at least 0, and heads of stages without a loss cost 0.
CostModel local_costs(const Schedule& schedule, const ForwardCosts& forward);

// Returns the total cost of a step without updates. Throws as local_costs().
double total_cost(const Schedule& schedule, const ForwardCosts& forward);

}  // namespace halfback
