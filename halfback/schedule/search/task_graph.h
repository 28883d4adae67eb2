// The compute actions of one step as a graph, for searches. Times are whole ticks, so that equal
// lengths stay equal in any order of summation.
#pragma once

#include "halfback/schedule/placement.h"

#include <array>
#include <cstdint>
#include <vector>

namespace halfback {

// The times of actions on 1/N of the model, where N ranks hold a replica, and of a hop between
// ranks, in any unit. Each of S stages takes N/S of them. A simple form of the simulator's cost
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
    int queue = 0;  // by kind, stage and replica; its tasks keep the order of micro-batches
    std::int64_t ticks = 0;
    // The change of its rank's memory: if positive, when it begins, else when it ends. One
    // micro-batch on one stage keeps kMemoryUnit.
    std::int64_t memory = 0;
    int before = -1;                      // the task whose result it takes; -1: none
    std::array<int, 2> after = {-1, -1};  // the tasks that take its result
  };

  // The input gradient frees the fraction `released_at_input` (0 to 1) of the memory that F keeps.
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
  // Returns the task of a compute action in the graph.
  int id_of(const Action& action) const;

  int num_queues() const { return size() / num_micro_batches_ * placement_.num_replicas(); }

  static constexpr std::int64_t kMemoryUnit = 1 << 16;

  // Returns the ticks from the end of a task to the earliest start of a task that takes its result.
  std::int64_t hop(int from, int to) const { return task(from).rank == task(to).rank ? 0 : hop_; }
  // Returns, by rank, the earliest possible start of its first task.
  std::vector<std::int64_t> earliest_begins() const;
  // Returns, by rank, the ticks of all its tasks.
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
