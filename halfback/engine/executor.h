// Walks one rank's list of actions: computes through its stages, sends and receives through the
// transport, notes a span per action. It never reorders, drops or invents an action.
#pragma once

#include "halfback/engine/clock.h"
#include "halfback/engine/device.h"
#include "halfback/engine/gradient_reduction.h"
#include "halfback/engine/stage.h"
#include "halfback/schedule/schedule.h"
#include "halfback/timeline/timeline.h"
#include "halfback/transport/transport.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace halfback {

// Inputs and targets of one micro-batch: token ids [N, T] for language models, images [N, C, H, W]
// and their classes [N], on the CPU. Behind the first input may stand others, such as a mask.
struct MicroBatch {
  Tensors inputs;
  at::Tensor targets;
};

// Returns how many targets have a loss: those that are not below 0.
std::int64_t num_targets(std::span<const MicroBatch> micro_batches);

enum class GroupEnd : std::uint8_t { No, Yes, LastOfStep };

// What the ranks share during a step.
struct StepContext {
  const Schedule* schedule = nullptr;
  std::span<const MicroBatch> micro_batches;
  double loss_scale = 1.0;  // that of loss_scale.h / number of targets of the step
  std::int64_t step = 0;    // number, from 1
  // By micro-batch, whether its weight gradient ends a gradient group of its copy of a stage. Empty
  // where a copy has one group only.
  std::span<const GroupEnd> group_ends = {};
  bool is_training = true;  // false: forward only, nothing is kept
  double origin_seconds = 0.0;
};

class Executor {
 public:
  using Stages = std::map<int, std::unique_ptr<Stage>>;  // of this rank, by number

  Executor(int rank, Stages& stages, Transport& transport, at::Device device = at::kCPU);

  // Where this rank's stages are.
  const RankDevice& device() const { return device_; }

  // Runs the whole list. Throws what an action throws; position() is then that of the action.
  // Throws ScheduleError at the end of a list that leaves something undone.
  void run(const StepContext& context);

  // Where the list is, for messages of other ranks: may be called from any thread.
  int position() const { return position_.load(std::memory_order_relaxed); }

  // Summed loss of each micro-batch; filled on the rank with the loss. After an evaluation as many
  // numbers of correct answers stand behind them.
  const std::vector<double>& losses() const { return losses_; }
  const std::vector<Span>& spans() const { return spans_; }
  // The most bytes of this rank, or of its device, between two actions of the last run.
  std::int64_t peak_between_actions() const { return peak_between_actions_; }

  // Begins the sums over copies of the weights that the list has not begun, and waits for all.
  void finish_reductions();

  // Runs `work` as an action of its own in the spans.
  template <typename Work>
  void timed(const Action& action, Work work);

 private:
  // Tensors of a stage that are on their way, by micro-batch.
  struct Mail {
    std::vector<Tensors> activations_in;
    std::vector<Tensors> activations_out;
    std::vector<Tensors> gradients_in;
    std::vector<Tensors> gradients_out;
  };

  // Throws ScheduleError for what no rank could do here; only schedules that nobody verified.
  void require_possible(const Action& action) const;
  void run_action(const Action& action);
  void forward(const Action& action);
  void backward(const Action& action);
  void send(const Action& action);
  void receive(const Action& action);
  void begin_reduction(const Action& action);
  GroupEnd group_end(const Action& action) const;
  void end_weight(const Action& action);
  // Runs the W actions of one stage that stand together at `begin`; returns how many.
  std::size_t weight_run(const std::vector<Action>& list, std::size_t begin);

  // Puts what an F, I or B makes where another stage of this rank or a send takes it.
  void deliver(const Action& action, Tensors tensors);
  // Whether this rank holds a stage of the replica that a micro-batch passes.
  bool is_local(int stage, int micro_batch) const;
  // Returns the micro-batches that pass a stage of this rank, ascending.
  std::vector<int> own_micro_batches(int stage) const;
  void note(const Action& action, double start, double cpu_start);

  int rank_;
  Stages& stages_;
  Transport& transport_;
  RankDevice device_;
  const StepContext* context_ = nullptr;
  std::atomic<int> position_{0};
  std::map<int, Mail> mail_;
  std::vector<double> losses_;
  std::vector<Span> spans_;
  std::int64_t peak_between_actions_ = 0;
  std::map<int, std::size_t> reductions_;  // by stage, of those that have begun: place in the spans
  std::optional<GradientReduction> reduction_;
};

template <typename Work>
void Executor::timed(const Action& action, Work work) {
  const double start = now_seconds();
  const double cpu_start = thread_cpu_seconds();
  work();
  device_.wait();
  note(action, start, cpu_start);
}

}  // namespace halfback
