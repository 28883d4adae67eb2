// When actions ran, or would run. The executor and the simulator write it; everything that draws or
// measures reads it.
#pragma once

#include "halfback/schedule/action.h"

#include <cstdint>
#include <vector>

namespace halfback {

// Times are seconds from the start of the step. cpu_seconds is the time that the rank's own thread
// spent computing, if known; a simulated span has end - start. A reduction runs beside the actions
// that follow it in its list; its span ends when its sum is complete.
struct Span {
  int rank = 0;
  Action action;
  double start_seconds = 0.0;
  double end_seconds = 0.0;
  double cpu_seconds = 0.0;
};

// The messages that one rank sent to another.
struct Link {
  int from = 0;
  int to = 0;
  std::int64_t messages = 0;
  std::int64_t bytes = 0;
  double seconds = 0.0;  // sum of the messages' times under way; 0 between threads
};

struct Timeline {
  int num_ranks = 0;
  std::vector<Span> spans;       // those of a rank are in the order of its list
  std::vector<Link> links = {};  // if measured
};

}  // namespace halfback
