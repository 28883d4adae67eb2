// The slow obvious reference: the whole model on one thread, micro-batch after micro-batch,
// without schedule, transport, ranks or split actions. Pipelines must equal it bit for bit.
#pragma once

#include "halfback/data/micro_batch.h"
#include "halfback/engine/model_layout.h"
#include "halfback/engine/stage.h"
#include "halfback/engine/stage_update.h"

#include <span>
#include <vector>

namespace halfback {

class PlainRun {
 public:
  // `whole` is the model as one stage. Its options set the groups in which the gradients of a step
  // are summed. If each stage's norm is clipped on its own, `num_parameters` says how many of the
  // parameters, in order, each stage of the pipeline holds.
  PlainRun(StageLayers whole,
           const Stage::Options& options,
           const UpdateOptions& update,
           std::vector<std::size_t> num_parameters = {});

  void initialize(std::uint64_t seed);

  struct Result {
    double loss = 0.0;           // mean over the targets
    double gradient_norm = 0.0;  // before clipping
  };
  // Accumulates the gradients of all micro-batches, in order, into the stage's store. Groups are
  // contiguous blocks of micro-batches.
  Result accumulate_gradients(std::span<const MicroBatch> micro_batches, std::int64_t number = 0);
  // The same, then clipping and one update. `number` counts steps from 1.
  Result train_step(std::span<const MicroBatch> micro_batches,
                    std::int64_t number,
                    double learning_rate);

  Stage& stage() { return stage_; }

 private:
  PlainRun(std::vector<StageLayers> whole,
           const Stage::Options& options,
           const UpdateOptions& update,
           std::vector<std::size_t> num_parameters);
  void clip_stages();

  ModelLayout layout_;
  int gradient_groups_;
  Stage stage_;
  UpdateOptions update_;
  LossScale loss_scale_;
  std::vector<std::size_t> num_parameters_;
};

}  // namespace halfback
