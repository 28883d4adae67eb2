#include "halfback/train/run_description.h"

#include "halfback/checkpoint/inherited.h"
#include "halfback/models/cut.h"

#include <fmt/format.h>

#include <cstddef>

namespace halfback {

std::map<std::string, std::string> options_of(const TrainingConfig& config) {
  const PipelineOptions& pipeline = config.pipeline;
  const OptimizerOptions& optimizer = pipeline.stage.optimizer;
  const auto text = [](auto value) { return fmt::format("{}", value); };
  std::map<std::string, std::string> all = {
      {"--steps", text(config.num_steps)},
      {"--warmup", text(config.learning_rate.warmup_steps)},
      {"--learning-rate", text(config.learning_rate.peak)},
      {"--learning-rate-floor", text(config.learning_rate.floor_fraction)},
      {"--learning-rate-decay", to_string(config.learning_rate.decay)},
      {"--decay-steps", text(config.learning_rate.decay_steps)},
      {"--clip", text(pipeline.update.clip_norm)},
      {"--clip-scope", pipeline.update.clip_scope == ClipScope::Stage ? "stage" : "model"},
      {"--weight-decay", text(optimizer.weight_decay)},
      {"--precision", dtype_name(pipeline.stage.product_dtype.value_or(at::kFloat))},
      {"--loss-scale", pipeline.update.loss_scale.is_dynamic
                           ? "dynamic"
                           : text(pipeline.update.loss_scale.initial)}};
  if (config.local_head == LocalHead::Shared) {
    all["--head-refresh"] = text(pipeline.head_refresh);
  }
  if (task_of(config.model) == Task::Classes) {
    all["--augment"] = to_string(augmentation_of(config));
  }
  if (compares_views(config)) {
    all["--temperature"] = text(build_options(config).contrast.temperature);
  }
  if (optimizer.kind == OptimizerKind::Sgd) {
    all["--momentum"] = text(optimizer.momentum);
    all["--nesterov"] = text(optimizer.is_nesterov);
  } else {
    all["--beta1"] = text(optimizer.beta1);
    all["--beta2"] = text(optimizer.beta2);
    all["--epsilon"] = text(optimizer.epsilon);
  }
  return all;
}

std::string losses_by_block(const TrainingConfig& config, const std::vector<int>& cut) {
  const Losses& losses = config.schedule->losses;
  if (losses.is_backprop() && !compares_views(config)) {
    return {};
  }
  const std::vector<int> first_block = first_blocks(cut);
  const std::vector<LossReach> whole = {{.stage = static_cast<int>(cut.size()) - 1}};
  std::string text;
  for (const LossReach& loss : losses.is_backprop() ? whole : losses.reaches()) {
    const int above = first_block[static_cast<std::size_t>(loss.stage) + 1];
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", above - 1,
                        loss.lowest > loss.stage
                            ? "none"
                            : std::to_string(first_block[static_cast<std::size_t>(loss.lowest)]));
  }
  text += fmt::format(" {} ", to_string(losses.weight_rule()));
  if (compares_views(config)) {
    text += fmt::format("infonce {}", build_options(config).contrast.projection);
  } else {
    text += to_string(config.local_head);
    if (config.local_loss == LocalLoss::Pred) {
      return text;
    }
    text += " " + to_string(config.local_loss);
  }
  return fmt::format("{}, micro-batches of {}", text, config.micro_batch_size);
}

std::string pruning_of(const TrainingConfig& config) {
  const PruneOptions& pruning = config.pruning;
  return pruning.sparsity > 0.0 ? fmt::format("{} {}", to_string(pruning.method), pruning.sparsity)
                                : "";
}

std::string untrained_stages(const Losses& losses, const std::vector<int>& cut) {
  const std::vector<int> first_block = first_blocks(cut);
  std::string text;
  for (std::size_t stage = 0; stage < cut.size(); ++stage) {
    if (losses.passes(static_cast<int>(stage)).taken == 0) {
      const int first = first_block[stage];
      const int last = first_block[stage + 1] - 1;
      text += fmt::format("{}stage {} ({})", text.empty() ? "" : ", ", stage,
                          first == last ? fmt::format("block {}", first)
                                        : fmt::format("blocks {}-{}", first, last));
    }
  }
  return text;
}

}  // namespace halfback
