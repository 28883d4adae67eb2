// The costs of stages if several losses train a model, from the costs of their forwards: a gradient
// carried through the layers of a stage costs as much as their forward, and the weight gradients
// from it as much again. So backprop costs three forwards.
//
// Every gradient that passes a stage is carried on its own, so a stage costs as many forwards as
// 1 + passes (losses.h): greedy and chunked 3, a stage in two overlapping windows 5 (6 would
// be with a forward for each window), a pairwise interlocking one 4. A head costs 3 of its own.
#pragma once

#include "halfback/simulate/cost_model.h"

#include <vector>

namespace halfback {

// In any one unit of time or work, of one micro-batch.
struct ForwardCosts {
  std::vector<double> stages;      // the layers of each stage
  std::vector<double> heads = {};  // from a stage's output to its loss, the loss with it; empty: 0
};

// Returns the costs of a schedule's stages. Throws ConfigError unless each stage has one of each,
// all finite and at least 0, and stages without a loss have heads of 0.
CostModel local_costs(const Schedule& schedule, const ForwardCosts& forward);

// Returns the total cost of a step without updates. Throws as local_costs().
double total_cost(const Schedule& schedule, const ForwardCosts& forward);

}  // namespace halfback
