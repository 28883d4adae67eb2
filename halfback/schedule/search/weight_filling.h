// Puts weight gradients where a rank would wait anyway.
#pragma once

#include "halfback/schedule/schedule.h"
#include "halfback/schedule/search/task_graph.h"

namespace halfback {

// Returns the schedule, which has no messages, with the W of all two-stage backwards moved and the
// order of everything else kept. Before the next action of a rank comes a W that waits, where it
// ends before that action could begin for these times, or where the memory that F keeps until W
// would go beyond the limit, in M_B (held_peaks.h); 0: none. W left over are last.
Schedule fill_weight_gradients(const Schedule& schedule,
                               const ShareTimes& times,
                               double memory_limit);

}  // namespace halfback
