// Queues between the blocks of a schedule with losses inside the model. A block is a run of stages
// that gradients join: none crosses from one block to the one below.
//
// A block with a queue of d runs at least d micro-batches behind the block below. It receives the
// first d activations of a step before it begins, and each later one d micro-batches ahead of its
// use. That takes time at the start of a run and memory, and evens out actions of uneven length. It
// changes no result: a block still takes the same activations in the same order, and what made them
// does not depend on when they are used.
#pragma once

#include "halfback/schedule/schedule.h"

#include <string>
#include <vector>

namespace halfback {

// Returns the number of boundaries between blocks.
int num_queues(const Schedule& schedule);

// Reads lengths as in "2" or "1,0,8". Throws ConfigError that names --queue.
std::vector<int> parse_queues(const std::string& text);

// Returns the schedule with queues of these lengths, in micro-batches: one for all boundaries, or
// one for each, from the bottom. Adds messages if there are none. Throws ConfigError for backprop,
// which is one block; for another number of lengths; for a length that is not below the number of
// micro-batches of a replica; and where no channel carries only the activations of the boundary, as
// within a rank.
Schedule with_queues(const Schedule& schedule, const std::vector<int>& lengths);

}  // namespace halfback
