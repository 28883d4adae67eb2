// The slow obvious reference of training by several losses: one thread, one loss after the other,
// and a forward of its own for each gradient of a stage. Pipelines must equal it bit for bit.
#pragma once

#include "halfback/data/micro_batch.h"
#include "halfback/engine/model_layout.h"
#include "halfback/engine/optimizer.h"
#include "halfback/engine/parameter_store.h"
#include "halfback/engine/pipeline_options.h"
#include "halfback/engine/stage.h"
#include "halfback/engine/stage_update.h"
#include "halfback/schedule/losses.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace halfback::testing {

class LocalReference {
 public:
  // Stages with a head where the losses are. Gradients are summed in the groups of the options.
  // Heads that share the output matrix copy it before the first step and then every `head_refresh`.
  LocalReference(std::vector<StageLayers> stages,
                 const Losses& losses,
                 const Stage::Options& options,
                 const UpdateOptions& update,
                 std::int64_t head_refresh = kDefaultHeadRefresh);

  void initialize(std::uint64_t seed);

  // Returns the means of the losses, ascending by stage, before the update.
  std::vector<double> train_step(std::span<const MicroBatch> micro_batches,
                                 std::int64_t number,
                                 double learning_rate);

  ParameterStore& store(int stage) { return *stores_[static_cast<std::size_t>(stage)]; }

 private:
  void refresh_heads();
  // Ends a gradient group after its last micro-batch.
  void end_groups(std::size_t num_done, std::size_t num_micro_batches);
  // Ends the sum of a stage, and takes its mean over several losses if that is the rule.
  void complete(int stage);
  at::Tensor& gradient_of(const TiedPair::Place& place);
  double train_by(const LossReach& loss,
                  const std::vector<Tensors>& inputs,
                  const at::Tensor& targets,
                  const Call& call,
                  double scale);

  std::vector<StageLayers> stages_;
  Losses losses_;
  Stage::Options options_;
  UpdateOptions update_;
  std::int64_t head_refresh_;
  ModelLayout layout_;
  std::vector<std::unique_ptr<ParameterStore>> stores_;
  std::vector<std::unique_ptr<Optimizer>> optimizers_;
};

}  // namespace halfback::testing
