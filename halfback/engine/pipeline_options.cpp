#include "halfback/engine/pipeline_options.h"

#include "halfback/base/option.h"

#include <fmt/format.h>

#include <cmath>

namespace halfback {

void check(const PipelineOptions& options) {
  const OptimizerOptions& optimizer = options.stage.optimizer;
  const auto is_part = [](double value) { return value >= 0.0 && value < 1.0; };
  require_option(is_part(optimizer.beta1), "beta1", optimizer.beta1, "0 to below 1");
  require_option(is_part(optimizer.beta2), "beta2", optimizer.beta2, "0 to below 1");
  require_option(is_part(optimizer.momentum), "momentum", optimizer.momentum, "0 to below 1");
  if (optimizer.is_nesterov &&
      (optimizer.kind != OptimizerKind::Sgd || optimizer.momentum == 0.0)) {
    throw ConfigError(fmt::format(
        "--nesterov: {}; leave it out, or use --optimizer sgd with a --momentum above 0",
        optimizer.kind == OptimizerKind::Sgd ? "--momentum is 0" : "adamw has no momentum of SGD"));
  }
  require_option(optimizer.epsilon > 0.0, "epsilon", optimizer.epsilon, "more than 0");
  require_option(optimizer.weight_decay >= 0.0, "weight-decay", optimizer.weight_decay,
                 "0 or more");
  const double clip = options.update.clip_norm;
  require_option(std::isfinite(clip) && clip >= 0.0, "clip", clip, "0 or more");
  const double scale = options.update.loss_scale.initial;
  int exponent = 0;
  require_option(scale >= 1.0 && scale <= 1e9 && std::frexp(scale, &exponent) == 0.5, "loss-scale",
                 scale, "auto, dynamic or a power of two from 1 to 2^29");
  require_option(options.head_refresh >= 1, "head-refresh", options.head_refresh, "1 or more");
  require_option(options.threads_per_rank >= 0 && options.threads_per_rank <= 1024, "threads",
                 options.threads_per_rank, "0 to 1024");
  require_option(options.timeout_seconds > 0.0 && options.timeout_seconds <= 1e6, "timeout",
                 options.timeout_seconds, "more than 0 seconds, at most 1e6");
}

void check_updates(const Schedule& schedule, const UpdateOptions& update) {
  if (has_updates(schedule) && StageUpdate(update).needs_model_norm()) {
    throw ConfigError(fmt::format(
        "schedule: its lists update stages (U) before the gradient norm of the whole model is "
        "known, which {} needs; use {}, or leave the updates out by --stage-updates off",
        update.loss_scale.is_dynamic ? "--loss-scale dynamic" : "--clip",
        update.loss_scale.is_dynamic ? "a fixed --loss-scale" : "--clip 0 or --clip-scope stage"));
  }
}

}  // namespace halfback
