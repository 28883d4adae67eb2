// A timeline in the trace event format, for Perfetto (ui.perfetto.dev) and chrome://tracing.
#pragma once

#include "halfback/timeline/timeline.h"

#include <string>

namespace halfback {

// Returns the JSON: one track per rank for its list, and others for its reductions, which run
// beside the list. Each span is one complete event, in whole nanoseconds written as microseconds,
// with the name that the action has in a schedule. Events of a track do not overlap.
std::string to_chrome_trace(const Timeline& timeline);

}  // namespace halfback
