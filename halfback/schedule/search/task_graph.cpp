#include "halfback/schedule/search/task_graph.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace halfback {

namespace {

constexpr double kTicksOfLongest = 1 << 20;

// Returns the time of one kind of task in ticks.
std::int64_t ticks_of(double time, double longest) {
  return std::max<std::int64_t>(1, std::llround(time / longest * kTicksOfLongest));
}

}  // namespace

void ShareTimes::check() const {
  const bool works = forward > 0 && input > 0 && weight > 0;
  const bool finite = std::isfinite(forward) && std::isfinite(input) && std::isfinite(weight) &&
                      std::isfinite(latency);
  if (!works || !finite || latency < 0) {
    throw ConfigError(
        fmt::format("times: forward {}, input gradient {}, weight gradient {}, "
                    "latency {}; the first three must be above 0, the latency at "
                    "least 0",
                    forward, input, weight, latency));
  }
}

TaskGraph::TaskGraph(Placement placement,
                     int num_micro_batches,
                     bool two_stage,
                     const ShareTimes& times,
                     double released_at_input)
    : placement_(std::move(placement)),
      num_micro_batches_(num_micro_batches),
      two_stage_(two_stage) {
  times.check();
  num_ranks_ = ranks_per_replica(placement_);
  const double longest = std::max({times.forward, times.input, times.weight});
  const std::int64_t weight = ticks_of(times.weight, longest);
  const std::int64_t input = ticks_of(times.input, longest);
  const std::array<std::int64_t, 3> ticks = {ticks_of(times.forward, longest),
                                             two_stage ? input : input + weight, weight};
  const int stages = placement_.num_stages();
  hop_ = std::llround(times.latency * stages / num_ranks_ / longest * kTicksOfLongest);

  const auto released = std::llround(released_at_input * kMemoryUnit);
  const int kinds = two_stage ? 3 : 2;
  tasks_.resize(static_cast<std::size_t>(kinds) * static_cast<std::size_t>(stages) *
                static_cast<std::size_t>(num_micro_batches));
  for (int kind = 0; kind < kinds; ++kind) {
    const Kept kept = traits_of(kind_of(kind)).kept;
    const std::int64_t memory =
        kept.until_input * released + kept.until_weight * (kMemoryUnit - released);
    for (int stage = 0; stage < stages; ++stage) {
      for (int micro_batch = 0; micro_batch < num_micro_batches; ++micro_batch) {
        Task& task = tasks_[static_cast<std::size_t>(id(kind, stage, micro_batch))];
        const int replica = placement_.replica_of(micro_batch);
        task.rank = placement_.rank_of(stage, replica);
        task.queue = (kind * stages + stage) * placement_.num_replicas() + replica;
        task.ticks = ticks[static_cast<std::size_t>(kind)];
        task.memory = memory;
      }
    }
  }
  for (int stage = 0; stage < stages; ++stage) {
    for (int micro_batch = 0; micro_batch < num_micro_batches; ++micro_batch) {
      connect(stage, micro_batch);
    }
  }
}

void TaskGraph::connect(int stage, int micro_batch) {
  const auto join = [&](int from, int to) {
    tasks_[static_cast<std::size_t>(to)].before = from;
    auto& after = tasks_[static_cast<std::size_t>(from)].after;
    after[after[0] < 0 ? 0 : 1] = to;
  };
  const bool is_last = stage + 1 == placement_.num_stages();
  if (stage > 0) {
    join(forward(stage - 1, micro_batch), forward(stage, micro_batch));
  }
  join(is_last ? forward(stage, micro_batch) : backward(stage + 1, micro_batch),
       backward(stage, micro_batch));
  if (two_stage_) {
    join(backward(stage, micro_batch), weight(stage, micro_batch));
  }
}

ActionKind TaskGraph::kind_of(int kind) const {
  const ActionKind backward = two_stage_ ? ActionKind::BackwardInput : ActionKind::Backward;
  return std::array{ActionKind::Forward, backward,
                    ActionKind::BackwardWeight}[static_cast<std::size_t>(kind)];
}

Action TaskGraph::action(int id) const {
  const int stages = std::max(1, placement_.num_stages());
  const int kind_and_stage = id / num_micro_batches_;
  return {kind_of(kind_and_stage / stages), kind_and_stage % stages, id % num_micro_batches_};
}

int TaskGraph::id_of(const Action& action) const {
  switch (action.kind) {
    case ActionKind::Forward:
      return forward(action.stage, action.micro_batch);
    case ActionKind::BackwardWeight:
      return weight(action.stage, action.micro_batch);
    default:
      return backward(action.stage, action.micro_batch);
  }
}

std::vector<std::int64_t> TaskGraph::earliest_begins() const {
  std::vector<std::int64_t> begins(static_cast<std::size_t>(num_ranks_), -1);
  for (int replica = 0; replica < placement_.num_replicas(); ++replica) {
    std::int64_t time = 0;
    for (int stage = 0; stage < placement_.num_stages(); ++stage) {
      const int rank = placement_.rank_of(stage, replica);
      if (stage > 0) {
        time += task(forward(stage - 1, 0)).ticks;
        time += placement_.rank_of(stage - 1, replica) == rank ? 0 : hop_;
      }
      std::int64_t& begin = begins[static_cast<std::size_t>(rank)];
      begin = begin < 0 ? time : std::min(begin, time);
    }
  }
  return begins;
}

std::vector<std::int64_t> TaskGraph::work() const {
  std::vector<std::int64_t> work(static_cast<std::size_t>(num_ranks_), 0);
  for (const Task& task : tasks_) {
    work[static_cast<std::size_t>(task.rank)] += task.ticks;
  }
  return work;
}

}  // namespace halfback
