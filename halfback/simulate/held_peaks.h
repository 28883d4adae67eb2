// How many micro-batches a rank holds, which depends only on the order of its list.
#pragma once

#include "halfback/schedule/schedule.h"

#include <vector>

namespace halfback {

// Returns, by rank, the peak of each count. Linear in the number of actions.
std::vector<Kept> held_peaks(const Schedule& schedule);

// Returns, by rank, the peak memory that F has kept and nothing has freed, in M_B: what one
// micro-batch keeps on 1/N of the model, where N ranks hold a replica. Each of S stages counts N/S.
// I frees the fraction `released_at_input` (0 to 1), W or B the rest. Linear in the number of
// actions.
std::vector<double> activation_peaks(const Schedule& schedule, double released_at_input = 0.0);

}  // namespace halfback
