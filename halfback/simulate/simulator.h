// When a schedule would run, and how many micro-batches it holds meanwhile.
//
// Each rank runs its list in order. An action starts when its rank is free and what it takes has
// arrived: immediately from its own rank, over a link (cost_model.h) from another. With messages in
// the schedule, a receive blocks its rank until the tensor has arrived, so that badly placed
// receives show their cost. A send takes no time, but waits while its channel is full; if messages
// occupy their senders, it blocks its rank while the message occupies the link. Under rendezvous a
// send and its receive end together, when the message has arrived.
//
// Without messages in the schedule a tensor enters its link as soon as it is made. The result is
// the same as with messages added, unless messages block a rank: occupied senders and bounded
// channels need messages.
//
// A rank does not wait at a REDUCE_GRAD, but at a U for the reduction of its stage. A reduction
// begins when all replicas of its stage have reached it and none of their ranks is in another
// reduction: a rank takes part in one at a time, in the order in which they could begin. Replicas
// without REDUCE_GRAD in their lists are reduced after the lists. The step ends with the last
// reduction, and updates after the lists wait for those of their rank.
#pragma once

#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/schedule.h"
#include "halfback/simulate/cost_model.h"
#include "halfback/simulate/held_peaks.h"
#include "halfback/timeline/timeline.h"

#include <functional>
#include <vector>

namespace halfback {

struct SimulateOptions {
  ChannelRule channel = kBuffered;
  bool validates = true;       // false: the caller knows that the schedule is valid
  bool keeps_timeline = true;  // false: no spans, which take 40 bytes per action
};

// Fractions are 1 - busy of all ranks / (num_ranks x period), for the makespan and for the stage
// step, the time per step of a long run in which ranks update without waiting for each other.
struct SimulationResult {
  // The span of a receive is its wait. Reductions and updates after a list are the last of their
  // rank.
  Timeline timeline;
  double makespan = 0.0;
  double stage_step = 0.0;  // the longest last end - first start of one rank, see statistics.h
  double bubble_fraction = 0.0;
  double stage_step_bubble_fraction = 0.0;
  std::vector<double> busy;  // by rank
  std::vector<Kept> held;    // by rank
};

// Simulates one step. Stages whose update has a cost are updated after the lists, unless the
// schedule has U; likewise, replicas are reduced there if a reduction has a cost. Throws
// ScheduleError for a schedule that does not run, ConfigError for costs of another schedule, for a
// bounded channel without messages, and for channels that are streams. Linear in the number of
// actions.
SimulationResult simulate(const Schedule& schedule,
                          const CostModel& costs,
                          const SimulateOptions& options = {});

// One of many back-to-back steps of a schedule with U: its slowest part determines the period.
struct SteadyStep {
  double period = 0.0;
  double bubble_fraction = 0.0;  // 1 - busy of all ranks / (num_ranks x period)
};

// Returns the period of `num_steps` steps that follow as many warm-up steps. Throws as simulate(),
// and ConfigError as repeat_steps(). Linear in the number of actions and steps.
SteadyStep steady_step(const Schedule& schedule,
                       const CostModel& costs,
                       int num_steps,
                       const SimulateOptions& options = {});

// The time of each compute action and of each replica's reduction, such as measured times.
using Durations = std::function<double(const Action&)>;
SimulationResult simulate(const Schedule& schedule,
                          const Durations& durations,
                          double latency,
                          const SimulateOptions& options = {});
// The same for a steady step without latency. The k-th step has micro-batches from k M on.
SteadyStep steady_step(const Schedule& schedule, const Durations& durations, int num_steps);

// Returns the actions that determine the makespan, in order of time. Each could not start (a
// message: not end) before its predecessor had ended, apart from the time that a message was under
// way. If a message waited for its link, the predecessor is the send, or without messages the
// maker, that made the link busy. If several end together, it is the one on the same rank, else on
// the lowest rank. A reduction appears with one replica. Actions after a list have an index beyond
// it. Simulates, with 16 more bytes per action and message; throws as simulate().
std::vector<Position> critical_path(const Schedule& schedule,
                                    const CostModel& costs,
                                    const SimulateOptions& options = {});

}  // namespace halfback
