// Runs a task graph on its ranks by priority: list scheduling under a memory limit.
#pragma once

#include "halfback/schedule/search/task_graph.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace halfback {

struct DispatchRules {
  TaskGraph::Direction direction = TaskGraph::Direction::Forward;
  // In memory units of the graph, of each rank; 0: none.
  std::int64_t memory_limit = 0;
  // How many waiting tasks a rank looks at before it stays idle. 1: the order of the keys.
  int window = 48;
  // A part of a weight gradient's time: if a task in front of it is due within that, the rank waits
  // for that task. 0: never. Forward only.
  double patience = 0.0;
  // By rank, before which it begins nothing; empty: 0.
  std::vector<std::int64_t> release = {};
};

// When each task begins and ends, by id. In a reversed graph the times run backwards.
struct TaskTimes {
  std::vector<std::int64_t> begin;
  std::vector<std::int64_t> end;
  std::int64_t last_end = 0;
};

// Whenever a rank is free it begins the ready task that is first by key; equal keys go by id. A
// task overtakes tasks that are not ready only if the memory limit also holds once these are done
// in their order. So nothing gets stuck unless the order of the keys itself breaks the limit; then
// it returns nothing. Tasks of one stage and kind do not overtake each other.
std::optional<TaskTimes> dispatch(const TaskGraph& graph,
                                  const std::vector<std::int64_t>& keys,
                                  const DispatchRules& rules);

}  // namespace halfback
