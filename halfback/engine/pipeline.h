// A model in training over ranks that are threads of this process: one step is one run of the
// schedule and one update of every stage.
//
// Results do not depend on the schedule, the number of stages or ranks (weight gradients looped,
// in ascending order): losses, gradients and parameters equal the plain run bit for bit.
#pragma once

#include "halfback/engine/executor.h"
#include "halfback/engine/loss_scale.h"
#include "halfback/engine/rank_threads.h"
#include "halfback/engine/tied_parameters.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace halfback {

struct PipelineOptions {
  Stage::Options stage;  // its device may lack a number: ranks are then dealt out over all
  LossScaleOptions loss_scale;
  double clip_norm = 0.0;  // largest gradient norm of the whole model; 0 does not clip
  int threads_per_rank = 1;
  int channel_capacity = 16;
  double timeout_seconds = 60.0;
};

// Exact bytes of one rank. The first three are constant; the rest is of the last step, and of all
// ranks on the rank's device where that is not the CPU.
struct RankMemory {
  std::int64_t parameters = 0;
  std::int64_t gradients = 0;
  std::int64_t optimizer_state = 0;
  std::int64_t activations = 0;  // peak of what is kept or on its way, between actions
  std::int64_t peak = 0;         // of everything, temporaries inside actions included
};

struct StepResult {
  double loss = 0.0;           // mean over the targets of the step
  double gradient_norm = 0.0;  // before clipping
  double loss_scale = 1.0;     // of this step; loss and norm are without it
  bool was_skipped = false;    // gradients were not finite: nothing was updated
  double seconds = 0.0;
  Timeline timeline;
  std::vector<RankMemory> memory;  // by rank
};

struct Evaluation {
  double loss = 0.0;      // mean over the targets
  double accuracy = 0.0;  // part of the targets that had the highest score

  bool operator==(const Evaluation&) const = default;
};

// Throws ScheduleError for what a valid schedule may hold and a Pipeline cannot run yet: updates
// inside the step, and replicas of the weights.
void check_runnable(const Schedule& schedule);

class Pipeline {
 public:
  // `schedule` must be valid; messages are added when it has none. Stages get memory, not values.
  // Throws as check_runnable().
  Pipeline(std::vector<StageLayers> stages,
           const Schedule& schedule,
           const PipelineOptions& options);
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  ~Pipeline();

  // Draws the initial values of all parameters.
  void initialize(std::uint64_t seed);

  // One optimizer step over as many micro-batches as the schedule has. After an error the
  // pipeline cannot be used again.
  struct StepOptions {
    std::int64_t number = 1;  // of this step, from 1
    double learning_rate = 0.0;
  };
  StepResult train_step(std::span<const MicroBatch> micro_batches, const StepOptions& options);

  // Accumulates gradients without updating; for tests and tools.
  StepResult accumulate_gradients(std::span<const MicroBatch> micro_batches);

  // Through the same stages, forward only. Takes any number of micro-batches, which may differ in
  // size.
  Evaluation evaluate(std::span<const MicroBatch> micro_batches);

  // Part of the state of training, where it is dynamic.
  const LossScale& loss_scale() const { return loss_scale_; }
  void restore_loss_scale(const LossScaleState& state) { loss_scale_.restore(state); }

  int num_stages() const { return schedule_.num_stages(); }
  Stage& stage(int number);
  const Schedule& schedule() const { return schedule_; }
  int num_micro_batches() const { return schedule_.num_micro_batches; }

 private:
  struct Rank;
  StepResult run(std::span<const MicroBatch> micro_batches, const StepOptions* update);
  void share_gradients(const Rank& rank);
  void run_rank(Rank& rank, const StepContext& context, const StepOptions* update);
  void update_stages(Rank& rank, const StepOptions& options);
  void run_all(const StepContext& context, const StepOptions* update);
  std::string blocked_ranks(const Schedule& running) const;
  void collect(StepResult& result);

  PipelineOptions options_;
  Schedule schedule_;
  std::unique_ptr<Transport> transport_;
  std::vector<std::unique_ptr<Rank>> ranks_;
  std::vector<TiedPair> tied_;
  LossScale loss_scale_;
  std::unique_ptr<RankThreads> threads_;
};

}  // namespace halfback
