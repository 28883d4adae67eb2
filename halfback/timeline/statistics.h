// What a timeline amounts to. Busy is computing: F, B, I, W and U, not messages.
#pragma once

#include "halfback/timeline/timeline.h"

#include <vector>

namespace halfback {

struct Statistics {
  double makespan_seconds = 0.0;     // end of the last span minus start of the first
  std::vector<double> busy_seconds;  // by rank
  double bubble_fraction = 0.0;      // 1 - busy of all ranks / (num_ranks x makespan)
};

// Returns the statistics; all are 0 without spans.
Statistics statistics(const Timeline& timeline);

// The median duration of one kind of action on one stage.
struct ActionCost {
  int stage = 0;
  ActionKind kind{};
  int count = 0;
  double median_seconds = 0.0;
};

// Which time of a span counts: start to end, or what the rank's own thread computed.
enum class SpanClock { Wall, ThreadCpu };

// Returns the costs of all compute and update actions, by stage and then by kind.
std::vector<ActionCost> median_costs(const Timeline& timeline, SpanClock clock);

}  // namespace halfback
