#include "halfback/train/training_config.h"

#include "halfback/base/error.h"
#include "halfback/base/option.h"
#include "halfback/models/cut.h"
#include "halfback/schedule/gradient_groups.h"

#include <cmath>

namespace halfback {

namespace {

// Similarities are between the samples of a micro-batch; of one alone there are none.
void check_similarities(const TrainingConfig& config) {
  const bool compares_samples =
      config.local_loss == LocalLoss::Sim || config.local_loss == LocalLoss::PredSim;
  if (compares_samples && task_of(config.model) == Task::Classes && config.micro_batch_size < 2) {
    throw ConfigError(
        fmt::format("--micro-batch-size is 1; --local-loss {} compares each sample with the others "
                    "of its micro-batch; use 2 or more",
                    to_string(config.local_loss)));
  }
}

// What the contrastive loss needs, and what only it takes.
void check_contrast(const TrainingConfig& config) {
  if (!compares_views(config)) {
    if (config.projection || config.temperature) {
      throw ConfigError(
          fmt::format("--{} is for --local-loss infonce; leave it out, or use that loss",
                      config.projection ? "projection" : "temperature"));
    }
    return;
  }
  const Contrast contrast = build_options(config).contrast;
  require_option(contrast.projection >= 1 && contrast.projection <= 1 << 20, "projection",
                 contrast.projection, "a number from 1 to 1048576");
  require_option(contrast.temperature >= 1e-3 && contrast.temperature <= 1e3, "temperature",
                 contrast.temperature, "a number from 0.001 to 1000");
  if (config.local_head != LocalHead::Linear) {
    throw ConfigError(fmt::format(
        "--local-head {}: --local-loss infonce has a head of its own; leave --local-head out",
        to_string(config.local_head)));
  }
  if (config.micro_batch_size < 2) {
    throw ConfigError(
        "--micro-batch-size is 1; --local-loss infonce compares each image with the others of its "
        "micro-batch; use 2 or more");
  }
  if (!augmentation_of(config).is_any()) {
    throw ConfigError(
        "--augment none: both views of an image would be the same, and --local-loss infonce would "
        "learn nothing; leave it out, or name some of crop,flip,jitter");
  }
}

// Options of losses inside the model, for a schedule without any.
void check_local(const TrainingConfig& config) {
  const bool has_head = config.local_head != LocalHead::Linear;
  if (config.schedule->losses.is_backprop() &&
      (has_head || (config.local_loss != LocalLoss::Pred && !compares_views(config)))) {
    const std::string option = has_head ? "--local-head " + to_string(config.local_head)
                                        : "--local-loss " + to_string(config.local_loss);
    throw ConfigError(fmt::format(
        "{}: the schedule has no loss inside the model; leave it out, or use a schedule of local "
        "updates, or --losses",
        option));
  }
  if (has_head && config.local_loss == LocalLoss::Sim) {
    throw ConfigError(fmt::format(
        "--local-head {}: --local-loss sim has no head; leave --local-head out, or use predsim",
        to_string(config.local_head)));
  }
}

void check_pruning(const PruneOptions& pruning) {
  require_option(pruning.sparsity >= 0.0 && pruning.sparsity < 1.0, "sparsity", pruning.sparsity,
                 "0 to below 1");
  require_option(pruning.num_samples >= 0, "prune-samples", pruning.num_samples, "0 or more");
  if (pruning.num_samples > 0 && pruning.method != PruneMethod::Snip) {
    throw ConfigError(fmt::format(
        "--prune-samples: --prune {} takes no gradients; leave it out, or use --prune snip",
        to_string(pruning.method)));
  }
}

void check_learning_rate(const LearningRate& rate) {
  require_option(std::isfinite(rate.peak) && rate.peak >= 0.0, "learning-rate", rate.peak,
                 "0 or more");
  require_option(std::isfinite(rate.floor_fraction) && rate.floor_fraction >= 0.0,
                 "learning-rate-floor", rate.floor_fraction, "0 or more");
  require_option(rate.warmup_steps >= 0, "warmup", rate.warmup_steps, "0 or more");
  require_option(rate.decay_steps >= 0, "decay-steps", rate.decay_steps, "0 or more");
}

}  // namespace

void check(const TrainingConfig& config) {
  check(config.pipeline);
  check_updates(*config.schedule, config.pipeline.update);
  if (config.pipeline.gradient_groups != 0) {  // fails for groups that the schedule cannot have
    gradient_groups(*config.schedule, config.pipeline.gradient_groups);
  }
  check_learning_rate(config.learning_rate);
  check_pruning(config.pruning);
  require_option(config.num_steps >= 1, "steps", config.num_steps, "1 or more");
  require_option(config.keep >= 1, "keep", config.keep, "1 or more");
  require_option(config.micro_batch_size >= 1 && config.micro_batch_size <= 1 << 20,
                 "micro-batch-size", config.micro_batch_size, "a number from 1 to 1048576");
  require_option(config.evaluate_every >= 0, "evaluate-every", config.evaluate_every, "0 or more");
  require_option(config.evaluate_samples >= 0, "evaluate-samples", config.evaluate_samples,
                 "0 or more");
  require_option(config.checkpoint_every >= 0, "checkpoint-every", config.checkpoint_every,
                 "0 or more");
  check_contrast(config);
  check_local(config);
  check_similarities(config);
  if (config.has_new_head && config.initial.empty()) {
    throw ConfigError(
        "--new-head needs --initial DIR, the checkpoint whose other parameters are taken");
  }
}

Augmentation augmentation_of(const TrainingConfig& config) {
  const bool compares = compares_views(config);
  return config.augmentation.value_or(Augmentation{compares, compares, compares});
}

std::vector<int> cut_of(const TrainingConfig& config) {
  return parse_cut(config.cut, {.num_blocks = num_blocks(config.model),
                                .num_stages = config.schedule->num_stages()});
}

PipelineOptions pipeline_options(const TrainingConfig& config) {
  PipelineOptions options = config.pipeline;
  options.stage.is_pruned = config.pruning.sparsity > 0.0;
  return options;
}

BuildOptions build_options(const TrainingConfig& config) {
  const Schedule& schedule = *config.schedule;
  return {.recompute = config.recompute,
          .local_head = config.local_head,
          .local_loss = config.local_loss,
          .contrast = {.projection = config.projection.value_or(Contrast{}.projection),
                       .temperature = config.temperature.value_or(Contrast{}.temperature)},
          .stages_with_loss = stages_with_loss(schedule.losses, schedule.num_stages())};
}

std::vector<StageLayers> build_stages(const TrainingConfig& config) {
  return build_model(config.model, cut_of(config), build_options(config));
}

}  // namespace halfback
