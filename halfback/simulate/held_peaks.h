// How many micro-batches a rank holds, which depends only on the order of its list.
#pragma once

#include "halfback/schedule/schedule.h"

#include <vector>

namespace halfback {

// Returns by rank the most of each that it holds at a time. Linear in the number of actions.
std::vector<Kept> held_peaks(const Schedule& schedule);

// Returns by rank the most memory that F has kept and nothing has freed, in M_B: what one
// micro-batch keeps on 1/N of the model, where N ranks hold a replica. A stage of S counts N/S. I
// frees `released_at_input` of it (0 to 1), W or B the rest. Linear in the number of actions.
std::vector<double> activation_peaks(const Schedule& schedule, double released_at_input = 0.0);

}  // namespace halfback
