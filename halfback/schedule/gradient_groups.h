// Gradient sums have one order, even if several replicas of the weights share the micro-batches of
// a step. Micro-batches form groups, each group is summed in ascending order, and the sums of
// groups are added pairwise. A replica holds whole groups, so the same number of groups gives the
// same bits on any number of replicas.
#pragma once

#include "halfback/schedule/schedule.h"

#include <vector>

namespace halfback {

// Returns the group of each micro-batch: equal blocks of each replica's micro-batches in ascending
// order, the first replica's first. Throws ConfigError unless the number of groups is the number of
// replicas times a power of two, each replica's groups divide its micro-batches, and each replica
// of a stage with several groups runs its weight gradients in ascending order.
std::vector<int> gradient_groups(const Schedule& schedule, int num_groups);

}  // namespace halfback
