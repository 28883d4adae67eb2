// The costs of actions and messages, for the simulator. Times are in seconds or any other unit.
//
// Costs of a stage are absolute. The text form "f,i,w" or "f,i,w,b" is for 1/N of the model, where
// N ranks hold a replica: uniform_costs() gives each of S stages N/S of the numbers, so that
// schedules with one and with several stages per rank are comparable. Latency is always absolute.
//
// A link is an ordered pair of ranks. It carries one message at a time, in the order of the sends;
// a message of b bytes occupies it for b / bandwidth and arrives one latency later.
//
// A reduction sums b bytes of a stage's gradients over D replicas in two phases: each replica gets
// its D-th of the sum from all others, then the others' parts. So each rank sends and receives
// 2 (D-1)/D b, which is the minimum (a ring moves the same, in 2 (D-1) phases), and it takes
// 2 latency + 2 (D-1)/D b / bandwidth. Reductions do not slow down the messages on links.
// Source of the minimum: Patarasuk, Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
// workstations", J. Parallel Distrib. Comput. 69, 2009; of the phases (reduce-scatter, all-gather):
// Thakur, Rabenseifner, Gropp, "Optimization of Collective Communication Operations in MPICH",
// IJHPCA 19, 2005.
#pragma once

#include "halfback/schedule/action.h"
#include "halfback/schedule/schedule.h"
#include "halfback/schedule/search/task_graph.h"
#include "halfback/timeline/statistics.h"

#include <limits>
#include <optional>
#include <string_view>
#include <vector>

namespace halfback {

struct StageCost {
  double forward = 1.0;
  double input = 1.0;  // of one gradient
  double weight = 1.0;
  // Of the gradient of the stage's own loss, if the stage has several; default: input.
  std::optional<double> own_input = std::nullopt;
  std::optional<double> full = std::nullopt;  // time of B; default: input + weight
  double update = 0.0;
  double reduce = 0.0;  // time of a reduction, besides that of its bytes
  // Bytes of the messages that the stage takes: its input, and the gradient of its output.
  double activation_bytes = 0.0;
  double gradient_bytes = 0.0;
  double reduce_bytes = 0.0;  // of its parameters' gradients

  // Returns the time of a compute or update action; 0 for messages and reductions.
  double of(ActionKind kind) const;
  double of(const Action& action) const;
  bool has_reduction() const { return reduce > 0.0 || reduce_bytes > 0.0; }
};

// A link that differs from the others; members that are not given are those of all links.
struct LinkCost {
  int from = 0;
  int to = 0;
  std::optional<double> latency = std::nullopt;
  std::optional<double> bandwidth = std::nullopt;  // bytes a unit of time
};

// When the stages of a rank are updated after its list. A schedule with U updates at its U.
enum class UpdateRule {
  Synchronized,  // after all ranks have ended, as clipping by the global norm needs
  PerRank,       // after its own end
};

struct CostModel {
  std::vector<StageCost> stages = {StageCost{}};  // one for all, or one per stage
  double latency = 0.0;                           // of a hop between different ranks
  double bandwidth = std::numeric_limits<double>::infinity();
  std::vector<LinkCost> links = {};
  // For reductions, which may use another network; default: those of messages.
  std::optional<double> reduce_latency = std::nullopt;
  std::optional<double> reduce_bandwidth = std::nullopt;
  bool occupies_sender = false;         // a SEND holds its rank while the message takes the link
  std::vector<double> rank_speed = {};  // by rank: actions take cost / speed; empty: 1
  UpdateRule updates = UpdateRule::Synchronized;

  const StageCost& stage(int index) const;
  // Returns the time of a reduction over replicas; 0 if the stage has neither bytes nor time for
  // it.
  double reduction(int stage_index, int num_replicas) const;
  // Throws ConfigError unless all numbers are finite (bandwidths may be infinite), costs are at
  // least 0, bandwidths and speeds are above 0, and no link is given twice.
  void check_values() const;
  // Throws ConfigError as check_values(), and unless stages, links and speeds fit the schedule: one
  // cost for all or one per stage, ranks that exist, all speeds or none.
  void check(const Schedule& schedule) const;
};

// Reads "f,i,w" or "f,i,w,b" as the cost of one stage. Throws ConfigError.
CostModel parse_costs(std::string_view text);

// Sets the costs of the actions in a timeline to their medians. Sets those of reductions to the
// shortest replica's, because the last replica does not wait. `costs` has a cost for each stage.
void take_measured_costs(CostModel& costs, const Timeline& timeline, SpanClock clock);

// Returns the times of 1/N of the model and the latency, for an order search: the sum over the
// stages / `num_ranks`, or the cost itself if all stages share one. A time of 0 becomes a millionth
// of the longest.
ShareTimes share_times(const CostModel& costs, int num_ranks);

// Returns the costs of a schedule's stages from the time of 1/N of the model: N/S of it for each of
// S stages, also for the update and the reduction. With local losses, I and W count once for each
// gradient that passes the stage, and the heads of losses cost nothing (local_cost.h includes
// them).
CostModel uniform_costs(const StageCost& share, const Schedule& schedule);

}  // namespace halfback
