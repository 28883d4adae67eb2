// A timeline in the trace event format, for Perfetto (ui.perfetto.dev) and chrome://tracing.
#pragma once

#include "halfback/timeline/timeline.h"

#include <string>

namespace halfback {

// Returns the JSON: one track a rank, another one where it has reductions, which run beside its
// list; one complete event a span, in whole nanoseconds written as microseconds, named as the
// action is in a schedule. No two events of a track overlap.
std::string to_chrome_trace(const Timeline& timeline);

}  // namespace halfback
