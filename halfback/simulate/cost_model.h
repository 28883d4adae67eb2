// What actions and messages cost, for the simulator. Times are seconds, or any one unit.
//
// Costs of a stage are absolute. The text form "f,i,w" or "f,i,w,b" is of 1/N of the model, where N
// ranks hold a copy: uniform_costs() gives a stage of S its share, N/S of the numbers, so that
// schedules with one and with several stages a rank compare. Latency is always absolute.
//
// A link is an ordered pair of ranks. It carries one message at a time, in the order of the sends;
// a message of b bytes takes it for b / bandwidth and arrives a latency later.
//
// A reduction sums b bytes of a stage's gradients over D replicas in two phases: each copy gets its
// D-th of the sum from all others, then all others' parts of it. So each rank sends and receives
// 2 (D-1)/D b, which is the least (a ring moves as much, in 2 (D-1) phases), and it takes
// 2 latency + 2 (D-1)/D b / bandwidth. Links carry messages meanwhile as if there were none.
// Source of the least: Patarasuk, Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
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
  double input = 1.0;
  double weight = 1.0;
  std::optional<double> full = std::nullopt;  // of B; not given: input + weight
  double update = 0.0;
  double reduce = 0.0;  // of a reduction, beside what its bytes take
  // Bytes of the messages that the stage takes: its input, and the gradient of its output.
  double activation_bytes = 0.0;
  double gradient_bytes = 0.0;
  double reduce_bytes = 0.0;  // of its parameters' gradients

  // Returns the time of a compute or update action; 0 for messages and reductions.
  double of(ActionKind kind) const;
  bool has_reduction() const { return reduce > 0.0 || reduce_bytes > 0.0; }
};

// A link that differs; what is not given is that of all links.
struct LinkCost {
  int from = 0;
  int to = 0;
  std::optional<double> latency = std::nullopt;
  std::optional<double> bandwidth = std::nullopt;  // bytes a unit of time
};

// When the stages of a rank are updated after its list; schedules with U update where U stands.
enum class UpdateRule {
  Synchronized,  // after all ranks have come to their ends, as clipping by one norm needs
  PerRank,       // after its own
};

struct CostModel {
  std::vector<StageCost> stages = {StageCost{}};  // one for all, or one a stage
  double latency = 0.0;                           // of a hop between different ranks
  double bandwidth = std::numeric_limits<double>::infinity();
  std::vector<LinkCost> links = {};
  // Of reductions, which may go over another network; what is not given is that of messages.
  std::optional<double> reduce_latency = std::nullopt;
  std::optional<double> reduce_bandwidth = std::nullopt;
  bool occupies_sender = false;         // a SEND holds its rank while the message takes the link
  std::vector<double> rank_speed = {};  // by rank: actions take their cost over it; empty: 1
  UpdateRule updates = UpdateRule::Synchronized;

  const StageCost& stage(int index) const;
  // Returns the time of a reduction over replicas; 0 where the stage has no bytes or time for it.
  double reduction(int stage_index, int num_replicas) const;
  // Throws ConfigError unless all numbers are finite (bandwidths may be infinite), costs at least
  // 0, bandwidths and speeds above, and no link is given twice.
  void check_values() const;
  // Throws ConfigError as check_values(), and unless stages, links and speeds are those of a
  // schedule: one cost for all or one a stage, ranks that exist, all speeds or none.
  void check(const Schedule& schedule) const;
};

// Reads "f,i,w" or "f,i,w,b" as the cost of one stage. Throws ConfigError.
CostModel parse_costs(std::string_view text);

// Sets the costs of what a timeline shows to their medians, of reductions to the shortest copy's:
// the last one waits for nobody. `costs` has a cost for each stage.
void take_measured_costs(CostModel& costs, const Timeline& timeline, SpanClock clock);

// Returns what a search for an order goes by: the mean of the stages and the latency, of
// `num_ranks` ranks where each stage has its own cost, else of the share that the one cost is. Of a
// time of 0 it takes a millionth of the longest.
ShareTimes share_times(const CostModel& costs, int num_ranks);

// Returns the costs of a schedule's stages out of the time of 1/N of the model: N/S of it for each
// of S stages, of the update and the reduction too. With gradient cuts I and W count as often as
// gradients pass the stage, and heads of losses cost nothing (local_cost.h has them).
CostModel uniform_costs(const StageCost& share, const Schedule& schedule);

}  // namespace halfback
