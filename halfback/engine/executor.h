// Walks one rank's list of actions: has a runner compute, sends and receives through the
// transport, and records a span per action. It never reorders, drops or invents an action.
#pragma once

#include "halfback/engine/action_runner.h"
#include "halfback/engine/device.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/schedule.h"
#include "halfback/timeline/timeline.h"
#include "halfback/transport/transport.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace halfback {

class Executor {
 public:
  // Both must outlive it.
  Executor(int rank, Transport& transport, const RankDevice& device);

  // Runs the whole list of the schedule. It and the runner must outlive the calls below. Spans
  // count from `origin_seconds` of now_seconds(). Throws what an action throws; position() is then
  // that of the action.
  void run(ActionRunner& runner, const Schedule& schedule, double origin_seconds);

  // Runs an action after the list, such as an update that had to wait for all ranks.
  void run_behind(const Action& action);

  // Records the spans of sums that ran beside the list, on the clock of now_seconds().
  void add_reductions(std::span<const Span> spans);

  // The current place in the list, for error messages of other ranks. May be called from any
  // thread.
  int position() const { return position_.load(std::memory_order_relaxed); }

  const std::vector<Span>& spans() const { return spans_; }
  // The most bytes of this rank, or of its device, between two actions of the last run.
  std::int64_t peak_between_actions() const { return peak_between_actions_; }

 private:
  // Tensors of a stage in transit, by gradient and micro-batch.
  struct Mail {
    std::vector<Tensors> activations_in;
    std::vector<Tensors> activations_out;
    std::vector<Tensors> gradients_in;
    std::vector<Tensors> gradients_out;
  };

  // Throws ScheduleError for an action that this rank cannot run, which only an unverified schedule
  // contains.
  void require_possible(const Action& action) const;
  void run_action(const Action& action);
  void compute(const Action& action);
  // Returns what a neighboring stage gave an action, if it takes something.
  Tensors taken_by(const Action& action);
  // Return where the tensor of an action of a stage is, for that stage and for others.
  Tensors& incoming(const Action& action);
  Tensors& outgoing(const Action& action);
  std::size_t place_of(const Action& action) const;
  void send(const Action& action);
  void receive(const Action& action);
  void begin_reduction(const Action& action);
  void finish_sum(const Action& update);
  // Runs the consecutive W actions of one stage from `begin` on; returns how many.
  std::size_t run_weights(const std::vector<Action>& list, std::size_t begin);

  // Puts the result of an F, I or B where another stage of this rank or a send takes it.
  void deliver(const Action& action, Tensors tensors);

  // Runs `work` and records the span of an action.
  template <typename Work>
  void timed(const Action& action, Work work);

  int rank_;
  ActionRunner* runner_ = nullptr;
  Transport& transport_;
  const RankDevice& device_;
  const Schedule* schedule_ = nullptr;
  double origin_seconds_ = 0.0;
  std::atomic<int> position_{0};
  std::map<int, Mail> mail_;  // by stage
  std::vector<Span> spans_;
  std::int64_t peak_between_actions_ = 0;
  std::map<int, std::size_t> reductions_;  // by stage: index in the spans of a sum in the list
};

}  // namespace halfback
