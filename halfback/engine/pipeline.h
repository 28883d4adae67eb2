// A model in training: one step is one run of the schedule and one update of every stage. Ranks are
// threads of one or several processes. Each process has its own Pipeline with the stages of its
// ranks; all have the same schedule and options and make the same calls.
//
// Steps of a schedule with U have no barrier: a rank begins its next step when its own part of the
// one before is done, and waits for others only for what it takes from them. Without U, all stages
// are updated after the last action of all.
//
// Heads that read a copy of the output matrix (LossLayer::output_matrix) get its values before the
// first step and then every PipelineOptions::head_refresh steps: those after the update of the last
// step. Ranks with such heads wait there for the last stage.
//
// Results do not depend on the schedule or the number of stages, ranks, processes or replicas of
// the weights: losses, gradients and parameters equal the plain run bit for bit. This requires
// looped weight gradients, in ascending order, and the same number of gradient groups.
#pragma once

#include "halfback/engine/model_layout.h"
#include "halfback/engine/pipeline_options.h"
#include "halfback/engine/rank_report.h"
#include "halfback/engine/rank_stages.h"
#include "halfback/engine/rank_threads.h"
#include "halfback/engine/stage_update.h"
#include "halfback/engine/step_totals.h"
#include "halfback/schedule/runnable.h"

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace halfback {

struct StepResult {
  double loss = 0.0;           // mean over the targets of the step, at the end of the model
  std::vector<double> losses;  // the same of each loss, ascending by stage: the last is `loss`
  double gradient_norm = 0.0;  // before clipping
  double loss_scale = 1.0;     // of this step; loss and norm are without it
  bool was_skipped = false;    // gradients were not finite: nothing was updated
  bool is_stop_asked = false;  // in some process; the same in all of them
  double seconds = 0.0;
  Timeline timeline;
  std::vector<RankMemory> memory;  // by rank
};

struct Evaluation {
  double loss = 0.0;      // mean over the targets
  double accuracy = 0.0;  // fraction of the targets that had the highest score
  // The same of each loss, ascending by stage: the last are `loss` and `accuracy`.
  std::vector<double> losses = {};
  std::vector<double> accuracies = {};

  bool operator==(const Evaluation&) const = default;
};

// Makes the layers of the whole model, stage by stage, the same on every call.
using BuildStages = std::function<std::vector<StageLayers>()>;

// A stage that lives in this process.
struct LocalStage {
  int number = 0;
  int replica = 0;
  Stage* stage = nullptr;
};

// A stage with the optimizer's state of all its elements.
struct GatheredStage {
  Stage* stage = nullptr;
  std::vector<ShardedBuffer> state;
};

class Pipeline {
 public:
  // Stages get memory, not values. `build` is called once for each replica of the weights. Without
  // a network all ranks are in this process. Throws like check() and check_updates(), and
  // ConfigError for gradient groups that the schedule cannot have and for layers that replicas
  // cannot keep equal.
  Pipeline(const BuildStages& build,
           const RunnableSchedule& schedule,
           const PipelineOptions& options,
           std::unique_ptr<Network> network = {});
  // The same for one replica of the weights, all in this process.
  Pipeline(std::vector<StageLayers> stages,
           const RunnableSchedule& schedule,
           const PipelineOptions& options);
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  ~Pipeline();

  // Draws the initial values of all parameters; all replicas of the weights start equal.
  void initialize(std::uint64_t seed);

  // After an error in any of these, the pipeline cannot be used again.
  struct StepOptions {
    std::int64_t number = 1;  // of this step, from 1
    double learning_rate = 0.0;
    const std::atomic<bool>* stop = nullptr;  // becomes true in any process to end the run
  };
  // Begins an optimizer step over as many micro-batches as the schedule has, and does not wait.
  void begin_step(std::span<const MicroBatch> micro_batches, const StepOptions& options);
  // Waits for the oldest step that was begun. How many others were begun changes no bit.
  StepResult finish_step();
  // Steps that were begun and not finished, and how many there may be: as many as keep all ranks
  // busy, and one without U.
  int num_begun() const { return static_cast<int>(begun_.size()); }
  int most_begun() const;

  // A step from begin to end. No other may be begun, here and below.
  StepResult train_step(std::span<const MicroBatch> micro_batches, const StepOptions& options);

  // Accumulates gradients without updating, for whoever updates otherwise. Random masks are those
  // of step `number`.
  StepResult accumulate_gradients(std::span<const MicroBatch> micro_batches,
                                  std::int64_t number = 0);

  // Returns what each stage keeps of such a micro-batch, by running it once: for layers that have
  // no formulas. Backprop and one replica of the weights only. Values and running statistics stay;
  // gradients become its own.
  std::vector<StageBytes> measure_bytes(const MicroBatch& micro_batch);

  // Runs the same stages forward only. Takes any number of micro-batches, which may differ in size.
  Evaluation evaluate(std::span<const MicroBatch> micro_batches);

  // Part of the training state if it is dynamic.
  const LossScale& loss_scale() const { return update_.loss_scale(); }
  void restore_loss_scale(const LossScaleState& state) { update_.loss_scale().restore(state); }

  // Returns the number in the model of each parameter of a stage: ModelLayout::numbers.
  std::span<const std::uint64_t> parameter_numbers(int stage) const {
    return layout_.numbers[static_cast<std::size_t>(stage)];
  }

  int num_stages() const { return schedule_.num_stages(); }
  // Returns a stage of the first replica of the weights, which must be in this process.
  Stage& stage(int number);
  // Returns the ranks whose work this process does, ascending.
  std::vector<int> local_ranks() const { return network_->local_ranks(); }
  // Returns all stages of this process, by replica and number.
  std::vector<LocalStage> local_stages();
  int gradient_groups() const { return gradient_groups_; }

  // Returns the chosen replicas of stages in this process, by number, with the optimizer's state
  // from the shards of all replicas. All processes must make the same call.
  std::vector<GatheredStage> gather_update_state(const Replicas::IsChosen& is_chosen);
  const Schedule& schedule() const { return schedule_; }
  int num_micro_batches() const { return schedule_.num_micro_batches; }

  // Returns where each rank of this process is in its list, as in "; rank 0 is at position 3, 1F0".
  // May be called from any thread.
  std::string positions() const;

  // Ends all waits of the ranks here, after another process has failed. May be called from any
  // thread.
  void stop() { network_->stop(); }

 private:
  struct Rank;
  struct Step;
  void make_ranks(std::vector<StageLayers> first, const BuildStages& build);
  void choose_gradient_groups();
  void check_ties() const;
  StepContext context_of(std::span<const MicroBatch> micro_batches) const;
  void begin(std::unique_ptr<Step> step);
  struct Finished;
  Finished finish();
  std::vector<RankReport> all_reports(const Step& step);

  PipelineOptions options_;
  Schedule schedule_;
  std::unique_ptr<Network> network_;
  ModelLayout layout_;
  int gradient_groups_ = 1;
  std::optional<StepTotals> totals_;
  StageUpdate update_;
  bool updates_in_lists_ = false;
  std::vector<GroupEnd> group_ends_;            // by micro-batch
  std::map<int, std::unique_ptr<Rank>> ranks_;  // of this process
  mutable std::mutex running_mutex_;
  Schedule other_;                           // of the last evaluation or measurement
  std::optional<Group> first_ranks_;         // of each process: reports go from one to all
  std::deque<std::unique_ptr<Step>> begun_;  // oldest first
  double last_end_seconds_ = 0.0;            // of the last step, on the clock of the first process
  std::unique_ptr<RankThreads> threads_;     // destroyed first: they work on all others
};

}  // namespace halfback
