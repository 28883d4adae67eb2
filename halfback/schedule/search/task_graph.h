// The compute actions of one step as a graph, for searches. Times are whole ticks here, so that
// equal lengths stay equal in whatever order they are summed.
#pragma once

#include "halfback/schedule/placement.h"

#include <array>
#include <cstdint>
#include <vector>

namespace halfback {

// The times of actions on 1/N of the model, where N ranks hold a replica, and of a hop between
// ranks, in any one unit. A stage of S takes N/S of it. A simple form of the simulator's cost
// model.
struct ShareTimes {
  double forward = 1.0;
  double input = 1.0;
  double weight = 1.0;
  double latency = 0.0;

  // Throws ConfigError unless all are finite, the first three above 0 and the latency at least 0.
  void check() const;
  bool operator==(const ShareTimes&) const = default;
};

class TaskGraph {
 public:
  enum class Direction { Forward, Reversed };
  // Tasks are numbered by kind (forward, then input gradient or both, then weight gradient), stage
  // and micro-batch.
  struct Task {
    int rank = 0;
    int queue = 0;  // numbers kind, stage and replica, whose tasks keep their micro-batches' order
    std::int64_t ticks = 0;
    // What it adds to the memory of its rank when it begins (above 0) or ends (below), in units of
    // which one micro-batch on one stage keeps kMemoryUnit.
    std::int64_t memory = 0;
    int before = -1;                      // the task whose result it takes; -1: none
    std::array<int, 2> after = {-1, -1};  // those that take its own
  };

  // The input gradient frees the part `released_at_input` (0 to 1) of the memory that F keeps.
  TaskGraph(Placement placement,
            int num_micro_batches,
            bool two_stage,
            const ShareTimes& times,
            double released_at_input = 0.0);

  int size() const { return static_cast<int>(tasks_.size()); }
  int num_ranks() const { return num_ranks_; }
  int num_micro_batches() const { return num_micro_batches_; }
  const Placement& placement() const { return placement_; }
  const Task& task(int id) const { return tasks_[static_cast<std::size_t>(id)]; }
  int forward(int stage, int micro_batch) const { return id(0, stage, micro_batch); }
  int backward(int stage, int micro_batch) const { return id(1, stage, micro_batch); }
  // Only for graphs with a split backward.
  int weight(int stage, int micro_batch) const { return id(2, stage, micro_batch); }
  bool two_stage() const { return two_stage_; }
  Action action(int id) const;
  // Returns the task of a compute action that the graph has.
  int id_of(const Action& action) const;

  int num_queues() const { return size() / num_micro_batches_ * placement_.num_replicas(); }

  static constexpr std::int64_t kMemoryUnit = 1 << 16;

  // Returns the ticks from the end of one task to the earliest begin of one that takes its result.
  std::int64_t hop(int from, int to) const { return task(from).rank == task(to).rank ? 0 : hop_; }
  // Returns by rank when its first task can begin at the earliest.
  std::vector<std::int64_t> earliest_begins() const;
  // Returns by rank the ticks of all its tasks.
  std::vector<std::int64_t> work() const;

 private:
  int id(int kind, int stage, int micro_batch) const {
    return (kind * placement_.num_stages() + stage) * num_micro_batches_ + micro_batch;
  }
  ActionKind kind_of(int kind) const;
  void connect(int stage, int micro_batch);

  Placement placement_;
  int num_ranks_ = 0;
  int num_micro_batches_ = 0;
  bool two_stage_ = true;
  std::int64_t hop_ = 0;
  std::vector<Task> tasks_;
};

}  // namespace halfback
