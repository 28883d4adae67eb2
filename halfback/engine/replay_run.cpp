#include "halfback/engine/replay_run.h"

#include "halfback/base/error.h"

#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

constexpr int kOnly = 0;  // the micro-batch of a tick

void refuse_if(bool is_found, const char* what, const char* instead) {
  if (is_found) {
    throw ConfigError(
        fmt::format("replay: {}, but each stage is updated on its own after each batch; use {}",
                    what, instead));
  }
}

void check_run(const std::vector<StageLayers>& stages,
               const ModelLayout& layout,
               const ReplayRun::Options& options) {
  const auto missing =
      std::ranges::find(stages, nullptr, [](const StageLayers& stage) { return stage.loss.get(); });
  if (missing != stages.end()) {
    throw ConfigError(fmt::format("replay: stage {} of {} has no loss; give it a local head",
                                  missing - stages.begin(), stages.size()));
  }
  refuse_if(!layout.tied.empty(), "parameters are tied", "a model without tied parameters");
  refuse_if(!layout.readers.empty(), "heads share the output matrix", "heads with a matrix each");
  refuse_if(options.stage.gradient_groups != 1 || options.stage.num_optimizer_shards != 1,
            "there are several gradient groups or optimizer shards", "one of each");
  refuse_if(options.update.loss_scale.is_dynamic, "a dynamic loss scale needs all gradients",
            "a fixed one");
  refuse_if(StageUpdate(options.update).needs_model_norm(),
            "clipping needs the norm of all gradients", "the norm of each stage");
}

}  // namespace

ReplayRun::ReplayRun(std::vector<StageLayers> stages, const Options& options, Batches batches)
    : layout_(lay_out(stages)),
      buffer_size_(options.buffer_size),
      batches_(std::move(batches)),
      update_(options.update),
      num_updates_(stages.size()),
      outputs_(stages.size()) {
  check({.num_stages = static_cast<int>(stages.size()), .buffer_size = buffer_size_});
  check_run(stages, layout_, options);
  for (StageLayers& layers : stages) {
    stages_.push_back(
        std::make_unique<Stage>(std::move(layers), options.stage,
                                StageGradients{.is_last = &layers == &stages.back(),
                                               .all = {{.is_own = true, .continues = false}}}));
  }
}

void ReplayRun::initialize(std::uint64_t seed) {
  const c10::InferenceMode no_graph;
  for (std::size_t i = 0; i < stages_.size(); ++i) {
    stages_[i]->store().initialize(seed, layout_.numbers[i]);
  }
}

MicroBatch ReplayRun::read(const ReplayTick& tick) const {
  if (tick.stage < 0 || tick.stage >= static_cast<int>(stages_.size())) {
    throw ScheduleError(fmt::format("replay: a tick of stage {}; the stages are 0 to {}",
                                    tick.stage, stages_.size() - 1));
  }
  const auto stage = static_cast<std::size_t>(tick.stage);
  if (tick.update != num_updates_[stage] + 1) {
    throw ScheduleError(fmt::format("replay: a tick is update {} of stage {}, whose next is {}",
                                    tick.update, stage, num_updates_[stage] + 1));
  }
  if (stage == 0) {
    return batches_(tick.batch);
  }
  const std::deque<Output>& stored = outputs_[stage - 1];
  const auto found = std::ranges::find_if(stored, [&](const Output& output) {
    return output.update == tick.source && output.batch == tick.batch;
  });
  if (found == stored.end()) {
    throw ScheduleError(fmt::format(
        "replay: stage {} reads what update {} of stage {} made of batch {}; stored "
        "are the outputs of the last {} of its {} updates",
        stage, tick.source, stage - 1, tick.batch, stored.size(), num_updates_[stage - 1]));
  }
  MicroBatch batch = found->data;
  for (at::Tensor& input : batch.inputs) {
    input = input.clone();  // layers may overwrite it
  }
  return batch;
}

double ReplayRun::run(const ReplayTick& tick, double learning_rate) {
  const c10::InferenceMode no_graph;
  MicroBatch batch = read(tick);
  const double targets = loss_divisor({&batch, 1});
  const auto stage = static_cast<std::size_t>(tick.stage);
  Stage& trained = *stages_[stage];
  trained.begin_step(tick.update);
  Stage::Outputs outputs = trained.forward(kOnly, std::move(batch.inputs), batch.targets);
  trained.backward_input({.micro_batch = kOnly}, {}, update_.loss_scale().value() / targets);
  trained.backward_weight({&kOnly, 1});
  trained.finish_step({&kOnly, 1});
  trained.store().complete_gradients();
  trained.finish_gradients();
  update_.unscale(trained);
  const double norm = norm_of(trained.store().squared_gradient_norms());
  update_.update(trained, {.number = tick.update, .learning_rate = learning_rate}, norm);
  ++num_updates_[stage];
  outputs_[stage].push_back(
      {tick.update, tick.batch, {std::move(outputs.activations), std::move(batch.targets)}});
  if (std::ssize(outputs_[stage]) > buffer_size_) {
    outputs_[stage].pop_front();
  }
  return outputs.loss / targets;
}

}  // namespace halfback
