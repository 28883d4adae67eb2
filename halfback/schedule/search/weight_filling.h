// Moves weight gradients to where a rank would wait anyway.
#pragma once

#include "halfback/schedule/schedule.h"
#include "halfback/schedule/search/task_graph.h"

namespace halfback {

// Returns the schedule, which has no messages, with the W of all split backwards moved; the order
// of all other actions stays. A pending W comes before the next action of a rank if it ends before
// that action could begin at these times, or if the memory that F keeps until W would exceed the
// limit, in M_B (held_peaks.h); 0: no limit. The other W come last.
Schedule fill_weight_gradients(const Schedule& schedule,
                               const ShareTimes& times,
                               double memory_limit);

}  // namespace halfback
