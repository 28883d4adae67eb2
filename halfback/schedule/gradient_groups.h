// Sums have one order, even if several replicas of the weights share the micro-batches of a step:
// these form groups, each summed in ascending order, and the sums of groups are added pairwise. A
// replica holds whole groups, so the same number of groups gives the same bits on any number of
// replicas.
#pragma once

#include "halfback/schedule/schedule.h"

#include <vector>

namespace halfback {

// Returns the group of each micro-batch: those of each replica, ascending, in equal blocks, the
// first replica's first. Throws ConfigError unless the number of groups is that of the replicas
// times a power of two, divides each replica's micro-batches, and each replica of a stage with
// several groups runs its weight gradients in ascending order.
std::vector<int> gradient_groups(const Schedule& schedule, int num_groups);

}  // namespace halfback
