// Runs a task graph on its ranks by priority: list scheduling under a memory limit.
#pragma once

#include "halfback/schedule/search/task_graph.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace halfback {

struct DispatchRules {
  TaskGraph::Direction direction = TaskGraph::Direction::Forward;
  // Of each rank, in memory units of the graph; 0: none.
  std::int64_t memory_limit = 0;
  // Number of waiting tasks that a rank looks at before it stays idle. 1: strictly the order of the
  // keys.
  int window = 48;
  // A fraction of a weight gradient's time: if a task in front of it is due within that time, the
  // rank waits for that task. 0: never. Only for forward graphs.
  double patience = 0.0;
  // By rank, the time before which it starts nothing; empty: 0.
  std::vector<std::int64_t> release = {};
};

// When each task begins and ends, by id. In a reversed graph, the times run backward.
struct TaskTimes {
  std::vector<std::int64_t> begin;
  std::vector<std::int64_t> end;
  std::int64_t last_end = 0;
};

// A free rank starts the ready task with the lowest key; ties go by id. A task overtakes tasks that
// are not ready only if the memory limit also holds once these are done in order. So nothing gets
// stuck unless the order of the keys itself breaks the limit; then it returns nothing. Tasks of one
// stage and kind do not overtake each other.
std::optional<TaskTimes> dispatch(const TaskGraph& graph,
                                  const std::vector<std::int64_t>& keys,
                                  const DispatchRules& rules);

}  // namespace halfback
