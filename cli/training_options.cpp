#include "cli/training_options.h"

#include "cli/options.h"
#include "halfback/base/error.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <sched.h>

namespace halfback::cli {

namespace {

void require(bool holds, const char* option, double value, const char* expected) {
  if (!holds) {
    throw ConfigError(fmt::format("--{} is {:g}; expected {}", option, value, expected));
  }
}

void add_optimizer(TrainingOptions& options, CLI::App& verb) {
  const auto add = [&verb](const char* name, auto& value, const char* help) {
    return verb.add_option(name, value, help)->group("Optimizer");
  };
  add("--optimizer", options.optimizer, "adamw or sgd (with momentum)")->type_name("NAME");
  add("--learning-rate", options.learning_rate, "Peak learning rate")->type_name("RATE");
  add("--weight-decay", options.optimizer_settings.weight_decay,
      "Weight decay; norms and biases have none")
      ->type_name("RATE");
  add("--beta1", options.optimizer_settings.beta1, "Of adamw")->type_name("X");
  add("--beta2", options.optimizer_settings.beta2, "Of adamw")->type_name("X");
  add("--epsilon", options.optimizer_settings.epsilon, "Of adamw")->type_name("X");
  add("--momentum", options.optimizer_settings.momentum, "Of sgd")->type_name("X");
  add("--clip", options.clip_norm, "Largest gradient norm of the whole model; 0: any")
      ->type_name("NORM");
}

void add_execution(TrainingOptions& options, CLI::App& verb) {
  const auto add = [&verb](const char* name, auto& value, const char* help) {
    return verb.add_option(name, value, help)->group("Execution");
  };
  add("--weight-gradients", options.weight_gradients,
      "looped (bit-equal to the plain run) or concatenated (one product over "
      "neighboring W actions)")
      ->type_name("HOW");
  add("--threads", options.threads_per_rank, "Threads a rank; 0: its share of the cores")
      ->type_name("N");
  add("--channel-capacity", options.channel_capacity,
      "Tensors that wait between two ranks before a send waits")
      ->type_name("N");
  add("--timeout", options.timeout_seconds, "Longest wait of a rank for another")
      ->type_name("SECONDS");
}

}  // namespace

int num_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? std::max(1, CPU_COUNT(&cores)) : 1;
}

void validate_for_run(const Schedule& schedule, int channel_capacity) {
  check_runnable(schedule);
  validate(schedule);
  validate(has_messages(schedule) ? schedule : add_communication(schedule),
           {.channel = {channel_capacity}});
}

int resolve_threads(int asked, int num_ranks) {
  return asked > 0 ? asked : std::max(1, num_cores() / num_ranks);
}

void TrainingOptions::add_to(CLI::App& verb) {
  const auto size = [&](const char* name, auto& value, const char* help, const char* type) {
    model_sizes_.push_back(
        verb.add_option(name, value, help)->type_name(type)->group("Model (LLaMA-like)"));
  };
  size("--layers", model.num_layers, "Blocks of attention and feed-forward", "N");
  size("--width", model.width, "Channels", "N");
  size("--heads", model.num_heads, "Attention heads", "N");
  size("--kv-heads", num_key_value_heads, "Key/value heads (as many as heads)", "N");
  size("--hidden", model.hidden, "Channels inside the feed-forward", "N");
  size("--sequence", model.sequence, "Tokens of a sequence", "N");
  size("--vocabulary", model.vocabulary, "Tokens there are; text is bytes, so at least 256", "N");
  size("--rope-theta", model.rope_theta, "Base of rotary positions", "X");
  size("--norm-epsilon", model.norm_epsilon, "Of RMSNorm", "X");
  model_sizes_.push_back(verb.add_flag("--tied-head", model.has_tied_head,
                                       "One matrix for embedding and head (on one stage)")
                             ->group("Model (LLaMA-like)"));
  verb.add_option("--cut", cut, "Blocks of each stage, as in 3,2,3 (equal)")->type_name("LIST");
  verb.add_option("--micro-batch-size", micro_batch_size, "Sequences of a micro-batch")
      ->type_name("N");
  verb.add_option("--seed", seed, "Of initialization and data order")->type_name("N");
  add_optimizer(*this, verb);
  add_execution(*this, verb);
}

bool TrainingOptions::has_model_size() const {
  return std::any_of(model_sizes_.begin(), model_sizes_.end(),
                     [](const CLI::Option* option) { return option->count() > 0; });
}

void TrainingOptions::note_model(const LlamaConfig& found) const {
  const std::vector<std::string> values = {
      std::to_string(found.num_layers),      std::to_string(found.width),
      std::to_string(found.num_heads),       std::to_string(found.num_key_value_heads),
      std::to_string(found.hidden),          std::to_string(found.sequence),
      std::to_string(found.vocabulary),      fmt::format("{}", found.rope_theta),
      fmt::format("{}", found.norm_epsilon), found.has_tied_head ? "true" : "false"};
  HALFBACK_CHECK(values.size() == model_sizes_.size(), std::to_string(model_sizes_.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    model_sizes_[i]->add_result(values[i]);
  }
}

TrainingConfig TrainingOptions::config(const Schedule& schedule) const {
  require_choice("--optimizer", optimizer, {"adamw", "sgd"});
  require_choice("--weight-gradients", weight_gradients, {"looped", "concatenated"});
  require(micro_batch_size >= 1 && micro_batch_size <= 1 << 20, "micro-batch-size",
          static_cast<double>(micro_batch_size), "a number from 1 to 1048576");
  require(std::isfinite(learning_rate) && learning_rate >= 0.0, "learning-rate", learning_rate,
          "0 or more");
  require(std::isfinite(clip_norm) && clip_norm >= 0.0, "clip", clip_norm, "0 or more");
  require(threads_per_rank >= 0 && threads_per_rank <= 1024, "threads", threads_per_rank,
          "0 to 1024");
  require(channel_capacity >= 1, "channel-capacity", channel_capacity, "1 or more");
  require(timeout_seconds > 0.0 && timeout_seconds <= 1e6, "timeout", timeout_seconds,
          "more than 0 seconds, at most 1e6");
  const OptimizerOptions& settings = optimizer_settings;
  require(settings.beta1 >= 0.0 && settings.beta1 < 1.0, "beta1", settings.beta1, "0 to below 1");
  require(settings.beta2 >= 0.0 && settings.beta2 < 1.0, "beta2", settings.beta2, "0 to below 1");
  require(settings.epsilon > 0.0, "epsilon", settings.epsilon, "more than 0");
  require(settings.momentum >= 0.0 && settings.momentum < 1.0, "momentum", settings.momentum,
          "0 to below 1");
  require(settings.weight_decay >= 0.0, "weight-decay", settings.weight_decay, "0 or more");

  TrainingConfig config;
  config.model = model;
  config.model.num_key_value_heads = num_key_value_heads.value_or(model.num_heads);
  config.cut = cut;
  config.schedule = schedule;
  config.pipeline.stage.optimizer = settings;
  config.pipeline.stage.optimizer.kind =
      optimizer == "sgd" ? OptimizerKind::Sgd : OptimizerKind::AdamW;
  config.pipeline.stage.weight_gradients =
      weight_gradients == "concatenated" ? WeightGradients::Concatenated : WeightGradients::Looped;
  config.pipeline.clip_norm = clip_norm;
  config.pipeline.threads_per_rank = resolve_threads(threads_per_rank, schedule.num_ranks());
  config.pipeline.channel_capacity = channel_capacity;
  config.pipeline.timeout_seconds = timeout_seconds;
  config.learning_rate.peak = learning_rate;
  config.optimizer = optimizer;
  config.data = data;
  config.micro_batch_size = micro_batch_size;
  config.seed = seed;
  return config;
}

}  // namespace halfback::cli
