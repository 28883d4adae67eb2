// When a schedule would run, and how many micro-batches it holds meanwhile.
//
// Each rank runs its list in order. An action starts when its rank is free and what it takes has
// arrived: at once from its own rank, after the latency from another. With messages in the
// schedule, sends take no time, and a receive holds its rank until the tensor has arrived, so that
// receives in a bad place cost what they would. Channels are buffered.
#pragma once

#include "halfback/schedule/schedule.h"
#include "halfback/simulate/cost_model.h"
#include "halfback/timeline/timeline.h"

#include <functional>
#include <vector>

namespace halfback {

// The most micro-batches of its stages that one rank holds at a time, by the order of its list.
struct HeldPeaks {
  int until_input = 0;   // from F until I or B is done: what I frees
  int until_weight = 0;  // from F until W or B is done: what W needs of F
  int gradients = 0;     // from I until W: the gradients that a split backward keeps
};

// Returns the peaks by rank. Linear in the number of actions.
std::vector<HeldPeaks> held_peaks(const Schedule& schedule);

struct SimulationResult {
  Timeline timeline;  // a receive's span is its wait; a send's has no length
  double makespan = 0.0;
  double bubble_fraction = 0.0;  // idle / (num_ranks x makespan)
  std::vector<double> busy;      // by rank
  std::vector<HeldPeaks> held;   // by rank
};

// Simulates one step. Throws ScheduleError for a schedule that does not validate, ConfigError for
// costs of another number of stages. Linear in the number of actions.
SimulationResult simulate(const Schedule& schedule, const CostModel& costs);

// The time of each action on its own, for instance as it was measured; asked for messages too,
// which take none.
using Durations = std::function<double(const Action&)>;
SimulationResult simulate(const Schedule& schedule, const Durations& durations, double latency);

}  // namespace halfback
