#include "cli/training_options.h"

#include "cli/options.h"
#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/schedule/gradient_groups.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sched.h>
#include <system_error>

namespace halfback::cli {

namespace {

// Samples of a micro-batch.
constexpr std::int64_t kDefaultSequences = 4;
constexpr std::int64_t kDefaultImages = 32;

void require(bool holds, const char* option, double value, const char* expected) {
  if (!holds) {
    throw ConfigError(fmt::format("--{} is {:g}; expected {}", option, value, expected));
  }
}

LossScaleOptions parse_loss_scale(const std::string& text, bool is_float16) {
  constexpr double kFirstDynamic = 65536.0;
  if (text == "dynamic" || (text == "auto" && is_float16)) {
    return {.initial = kFirstDynamic, .is_dynamic = true};
  }
  if (text == "auto") {
    return {};
  }
  double scale = 0.0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, scale);
  int exponent = 0;
  if (stop != end || error != std::errc() || !(scale >= 1.0 && scale <= 1e9) ||
      std::frexp(scale, &exponent) != 0.5) {
    throw ConfigError(fmt::format(
        "--loss-scale is {}; expected auto, dynamic or a power of two from 1 to 2^29", text));
  }
  return {.initial = scale};
}

void add_optimizer(TrainingOptions& options, CLI::App& verb) {
  const auto add = [&verb](const char* name, auto& value, const char* type, const char* help) {
    return add_option(verb, name, value, type, help)->group("Optimizer");
  };
  add("--optimizer", options.optimizer, "NAME", "adamw or sgd (with momentum)");
  add("--learning-rate", options.learning_rate, "RATE", "Peak learning rate");
  add("--weight-decay", options.optimizer_settings.weight_decay, "RATE",
      "Weight decay; norms and biases have none");
  add("--beta1", options.optimizer_settings.beta1, "X", "Of adamw");
  add("--beta2", options.optimizer_settings.beta2, "X", "Of adamw");
  add("--epsilon", options.optimizer_settings.epsilon, "X", "Of adamw");
  add("--momentum", options.optimizer_settings.momentum, "X", "Of sgd");
  add("--clip", options.clip_norm, "NORM", "Largest gradient norm; 0: any");
  add("--clip-scope", options.clip_scope, "SCOPE",
      "Whose norm --clip limits: model (of all parameters together) or stage (of each stage on its "
      "own, which --stage-updates needs)");
}

void add_execution(TrainingOptions& options, CLI::App& verb) {
  const auto add = [&verb](const char* name, auto& value, const char* type, const char* help) {
    return add_option(verb, name, value, type, help)->group("Execution");
  };
  add("--weight-gradients", options.weight_gradients, "HOW",
      "looped (bit-equal to the plain run) or concatenated (one product over "
      "neighboring W actions)");
  add("--gradient-groups", options.gradient_groups, "G",
      "Blocks of a step's micro-batches that are summed on their own and then pairwise: as many "
      "have the same bits on any number of pipelines (0: one for each copy of the weights, or as "
      "the checkpoint has them)");
  verb.add_flag("--shard-optimizer", options.shards_optimizer,
                "Each copy of the weights holds a part of the optimizer's state (ZeRO-1)")
      ->group("Execution");
  add("--device", options.device, "NAME",
      "Where ranks compute: cpu, cuda (rank r on device r modulo their number) or cuda:K (all on "
      "one)");
  add("--precision", options.precision, "TYPE",
      "Of matrix products: float32, bfloat16 or float16; parameters, sums and all else stay "
      "float32");
  add("--loss-scale", options.loss_scale, "X",
      "Gradients are computed times this: a power of two, or dynamic (halved where they overflow, "
      "doubled after 2000 good steps); auto: dynamic for float16, else 1");
  add("--recompute", options.recompute, "WHAT",
      "What backward computes again instead of keeping it: none, block, attention or feed-forward");
  verb.add_flag(
          "--recompute-gradients", options.recomputes_gradients,
          "Keep gradients between I and W at the ends of blocks only; W computes the others again")
      ->group("Execution");
  add("--threads", options.threads_per_rank, "N", "Threads a rank; 0: its share of the cores");
  add("--channel-capacity", options.channel_capacity, "N",
      "Messages that wait between two ranks before a send waits");
  add("--timeout", options.timeout_seconds, "SECONDS", "Longest wait of a rank for another");
}

}  // namespace

int num_cores() {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  return sched_getaffinity(0, sizeof(cores), &cores) == 0 ? std::max(1, CPU_COUNT(&cores)) : 1;
}

void validate_for_run(const Schedule& schedule, int channel_capacity) {
  check_runnable(schedule);
  validate(schedule, {.channel = {channel_capacity}});
}

int resolve_threads(int asked, int num_ranks) {
  return asked > 0 ? asked : std::max(1, num_cores() / num_ranks);
}

void TrainingOptions::add_to(CLI::App& verb) {
  add_model(verb);
  add_option(verb, "--cut", cut, "LIST", "Blocks of each stage, as in 3,2,3 (equal)");
  add_option(
      verb, "--micro-batch-size", micro_batch_size, "N",
      fmt::format("Samples of a micro-batch ({}; images: {})", kDefaultSequences, kDefaultImages));
  add_option(verb, "--seed", seed, "N", "Of initialization, data order and dropout");
  add_optimizer(*this, verb);
  add_execution(*this, verb);
}

// One option for all models that have a size of that name; its help says each one's default.
void TrainingOptions::add_model(CLI::App& verb) {
  const std::string group = "Model";
  model_option_ = add_option(verb, "--model", model_name, "NAME",
                             fmt::format("{}", fmt::join(model_names(), ", ")))
                      ->group(group);
  std::map<std::string, std::string> defaults;
  std::vector<ModelConfig> models;
  for (const std::string& name : model_names()) {
    models.push_back(default_model(name));
    for (const ModelSize& size : sizes_of(models.back())) {
      std::string& text = defaults[size.name];
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, to_text(size));
    }
  }
  for (ModelConfig& model : models) {
    for (const ModelSize& size : sizes_of(model)) {
      if (sizes_.count(size.name) > 0) {
        continue;
      }
      const std::string option = fmt::format("--{}", size.name);
      const std::string help = fmt::format("{} ({})", size.help, defaults.at(size.name));
      const bool is_flag = std::holds_alternative<bool*>(size.value);
      const bool is_whole = std::holds_alternative<std::int64_t*>(size.value);
      sizes_[size.name] = is_flag ? verb.add_flag(option, help)
                                  : verb.add_option(option, help)->type_name(is_whole ? "N" : "X");
      sizes_[size.name]->group(group);
    }
  }
}

void TrainingOptions::set_given_sizes(ModelConfig& model) const {
  const ModelSizes known = sizes_of(model);
  for (const auto& [name, option] : sizes_) {
    if (option->count() == 0) {
      continue;
    }
    const auto size = std::find_if(known.begin(), known.end(),
                                   [&](const ModelSize& one) { return one.name == name; });
    const std::string text = option->results().back();
    if (size != known.end()) {
      set_from_text(*size, text);
    } else if (text != "false") {
      throw ConfigError(fmt::format("--{} is no size of {}; leave it out or use another --model",
                                    name, halfback::model_name(model)));
    }
  }
}

ModelConfig TrainingOptions::model() const {
  ModelConfig found = default_model(model_name);
  set_given_sizes(found);
  if (auto* const llama = std::get_if<LlamaConfig>(&found);
      llama != nullptr && sizes_.at("kv-heads")->count() == 0) {
    llama->num_key_value_heads = llama->num_heads;
  }
  return resolved(found);
}

ModelConfig TrainingOptions::model(const ModelConfig& of_checkpoint) const {
  if (model_option_->count() > 0 && model_name != halfback::model_name(of_checkpoint)) {
    return model();  // which is refused as another one
  }
  ModelConfig found = of_checkpoint;
  set_given_sizes(found);
  return resolved(found);
}

std::optional<std::int64_t> TrainingOptions::given_size(const std::string& name) const {
  const CLI::Option* const option = sizes_.at(name);
  if (option->count() == 0) {
    return std::nullopt;
  }
  return parse_integer(option->results().back());
}

void TrainingOptions::take_model(const ModelConfig& model, TrainingConfig& config) const {
  config.model = model;
  config.micro_batch_size = micro_batch_size.value_or(
      task_of(model) == Task::Classes ? kDefaultImages : kDefaultSequences);
  require(config.micro_batch_size >= 1 && config.micro_batch_size <= 1 << 20, "micro-batch-size",
          static_cast<double>(config.micro_batch_size), "a number from 1 to 1048576");
}

void TrainingOptions::note_model(const ModelConfig& found) const {
  if (model_option_->count() == 0) {
    model_option_->add_result(halfback::model_name(found));
  }
  ModelConfig copy = found;
  for (const ModelSize& size : sizes_of(copy)) {
    if (sizes_.at(size.name)->count() == 0) {
      sizes_.at(size.name)->add_result(to_text(size));
    }
  }
}

TrainingConfig TrainingOptions::config(const Schedule& schedule) const {
  TrainingConfig config = config_without_model(schedule);
  take_model(model(), config);
  return config;
}

TrainingConfig TrainingOptions::config_without_model(const Schedule& schedule) const {
  require_choice("--optimizer", optimizer, {"adamw", "sgd"});
  require_choice("--clip-scope", clip_scope, {"model", "stage"});
  require_choice("--weight-gradients", weight_gradients, {"looped", "concatenated"});
  require_choice("--precision", precision, {"float32", "bfloat16", "float16"});
  require_choice("--recompute", recompute, {"none", "block", "attention", "feed-forward"});
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
  config.cut = cut;
  using Forward = Checkpointing::Forward;
  config.checkpointing = {.recomputed = recompute == "block"          ? Forward::OfBlocks
                                        : recompute == "attention"    ? Forward::OfAttention
                                        : recompute == "feed-forward" ? Forward::OfFeedForward
                                                                      : Forward::Kept,
                          .recomputes_gradients = recomputes_gradients};
  config.schedule = schedule;
  config.pipeline.stage.optimizer = settings;
  config.pipeline.stage.optimizer.kind =
      optimizer == "sgd" ? OptimizerKind::Sgd : OptimizerKind::AdamW;
  config.pipeline.stage.device = parse_device(device);
  if (precision != "float32") {
    config.pipeline.stage.product_dtype = precision == "float16" ? at::kHalf : at::kBFloat16;
  }
  config.pipeline.update.loss_scale = parse_loss_scale(loss_scale, precision == "float16");
  config.pipeline.stage.weight_gradients =
      weight_gradients == "concatenated" ? WeightGradients::Concatenated : WeightGradients::Looped;
  if (gradient_groups != 0) {  // fails for what the schedule cannot have
    halfback::gradient_groups(schedule, gradient_groups);
  }
  config.pipeline.gradient_groups = gradient_groups;
  config.pipeline.shards_optimizer = shards_optimizer;
  config.pipeline.update.clip_norm = clip_norm;
  config.pipeline.update.clip_scope = clip_scope == "stage" ? ClipScope::Stage : ClipScope::Model;
  check_runnable(schedule, config.pipeline.update);
  config.pipeline.threads_per_rank = resolve_threads(threads_per_rank, schedule.num_ranks());
  config.pipeline.channel_capacity = channel_capacity;
  config.pipeline.timeout_seconds = timeout_seconds;
  config.learning_rate.peak = learning_rate;
  config.optimizer = optimizer;
  config.data = data;
  config.seed = seed;
  return config;
}

}  // namespace halfback::cli
