// Sums have one order, also where copies of the weights share the micro-batches of a step out:
// these stand in groups, each summed in ascending order, and the sums of groups are added pairwise.
// A copy holds whole groups; so as many groups give the same bits on any number of copies.
#pragma once

#include "halfback/schedule/schedule.h"

#include <vector>

namespace halfback {

// Returns the group of each micro-batch: those of each replica, ascending, in equal blocks, the
// first replica's first. Throws ConfigError unless the number of groups is that of the replicas
// times a power of two, divides each replica's micro-batches, and each copy of a stage runs its
// weight gradients in ascending order where it has several groups.
std::vector<int> gradient_groups(const Schedule& schedule, int num_groups);

}  // namespace halfback
