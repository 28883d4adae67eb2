#include "halfback/train/training_config.h"

#include "halfback/base/error.h"
#include "halfback/base/option.h"
#include "halfback/schedule/gradient_groups.h"

#include <cmath>

namespace halfback {

void check(const TrainingConfig& config) {
  check(config.pipeline);
  check_updates(*config.schedule, config.pipeline.update);
  if (config.pipeline.gradient_groups != 0) {  // fails for groups that the schedule cannot have
    gradient_groups(*config.schedule, config.pipeline.gradient_groups);
  }
  const LearningRate& rate = config.learning_rate;
  require_option(std::isfinite(rate.peak) && rate.peak >= 0.0, "learning-rate", rate.peak,
                 "0 or more");
  require_option(std::isfinite(rate.floor_fraction) && rate.floor_fraction >= 0.0,
                 "learning-rate-floor", rate.floor_fraction, "0 or more");
  require_option(config.num_steps >= 1, "steps", config.num_steps, "1 or more");
  require_option(config.keep >= 1, "keep", config.keep, "1 or more");
  require_option(config.micro_batch_size >= 1 && config.micro_batch_size <= 1 << 20,
                 "micro-batch-size", config.micro_batch_size, "a number from 1 to 1048576");
  require_option(rate.warmup_steps >= 0, "warmup", rate.warmup_steps, "0 or more");
  require_option(config.evaluate_every >= 0, "evaluate-every", config.evaluate_every, "0 or more");
  require_option(config.evaluate_samples >= 0, "evaluate-samples", config.evaluate_samples,
                 "0 or more");
  require_option(config.checkpoint_every >= 0, "checkpoint-every", config.checkpoint_every,
                 "0 or more");
  if (config.has_new_head && config.initial.empty()) {
    throw ConfigError(
        "--new-head needs --initial DIR, the checkpoint whose other parameters are taken");
  }
}

BuildOptions build_options(const TrainingConfig& config) {
  const Schedule& schedule = *config.schedule;
  return {.recompute = config.recompute,
          .local_head = config.local_head,
          .local_loss = config.local_loss,
          .stages_with_loss = stages_with_loss(schedule.losses, schedule.num_stages())};
}

}  // namespace halfback
