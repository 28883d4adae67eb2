#include "cli/training_options.h"

#include "cli/options.h"
#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/models/local_heads.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace halfback::cli {

namespace {

// Samples in a micro-batch.
constexpr std::int64_t kDefaultSequences = 4;
constexpr std::int64_t kDefaultImages = 32;

LossScaleOptions parse_loss_scale(const std::string& text, bool is_float16) {
  constexpr double kFirstDynamic = 65536.0;
  if (text == "dynamic" || (text == "auto" && is_float16)) {
    return {.initial = kFirstDynamic, .is_dynamic = true};
  }
  if (text == "auto") {
    return {};
  }
  const std::optional<double> scale = parse_number(text);
  if (!scale) {
    throw ConfigError(
        fmt::format("--loss-scale is {}; expected a number, 'auto' or 'dynamic'", text));
  }
  return {.initial = *scale};
}

void add_optimizer(TrainingOptions& options, CLI::App& verb) {
  const auto add = [&verb](const char* name, auto& value, const char* type, const char* help) {
    return add_option(verb, name, value, type, help)->group("Optimizer");
  };
  OptimizerOptions& optimizer = options.given.pipeline.stage.optimizer;
  add("--optimizer", options.optimizer, "NAME", "adamw or sgd (with momentum)");
  add("--learning-rate", options.given.learning_rate.peak, "RATE", "Peak learning rate");
  add("--weight-decay", optimizer.weight_decay, "RATE",
      "Weight decay, not applied to norms and biases");
  add("--beta1", optimizer.beta1, "X", "AdamW beta1");
  add("--beta2", optimizer.beta2, "X", "AdamW beta2");
  add("--epsilon", optimizer.epsilon, "X", "AdamW epsilon");
  add("--momentum", optimizer.momentum, "X", "SGD momentum");
  verb.add_flag("--nesterov", optimizer.is_nesterov, "Nesterov's momentum, for --optimizer sgd")
      ->group("Optimizer");
  add("--clip", options.given.pipeline.update.clip_norm, "NORM",
      "Largest gradient norm; 0: no clipping");
  add("--clip-scope", options.clip_scope, "SCOPE",
      "Norm that --clip limits: model (of all parameters) or stage (of each stage, which "
      "--stage-updates needs)");
}

void add_execution(TrainingOptions& options, CLI::App& verb) {
  const auto add = [&verb](const char* name, auto& value, const char* type, const char* help) {
    return add_option(verb, name, value, type, help)->group("Execution");
  };
  PipelineOptions& pipeline = options.given.pipeline;
  add("--weight-gradients", options.weight_gradients, "HOW",
      "looped (bit-equal to the plain run) or concatenated (one product over "
      "neighboring W actions)");
  add("--gradient-groups", pipeline.gradient_groups, "G",
      "Groups of a step's micro-batches whose gradients are summed first and then added pairwise; "
      "an equal number of groups gives equal bits on any number of pipelines (0: one per replica "
      "of the weights, or as in the checkpoint)");
  verb.add_flag("--shard-optimizer", pipeline.shards_optimizer,
                "Shard the optimizer's state over the replicas of the weights (ZeRO-1)")
      ->group("Execution");
  add("--device", options.device, "NAME",
      "Where ranks compute: cpu, cuda (rank r on device r modulo the number of devices) or cuda:K "
      "(all on one)");
  add("--precision", options.precision, "TYPE",
      "Type of matrix products: float32, bfloat16 or float16; parameters, sums and all other "
      "values stay float32");
  add("--loss-scale", options.loss_scale, "X",
      "Factor on the loss: a power of two, or dynamic (halved on overflow, doubled after 2000 good "
      "steps); auto: dynamic for float16, else 1");
  add("--recompute", options.recompute, "WHAT",
      "What backward recomputes instead of keeping: none, block, attention or feed-forward");
  verb.add_flag(
          "--recompute-gradients", options.given.recompute.recomputes_gradients,
          "Between I and W keep only the gradients at block boundaries; W recomputes the others")
      ->group("Execution");
  add("--local-head", options.local_head, "NAME",
      fmt::format("Head of each loss inside the model, for schedules with such losses: {}",
                  fmt::join(local_head_names(), ", "))
          .c_str());
  add("--head-refresh", options.head_refresh, "STEPS",
      fmt::format(
          "For --local-head shared: steps from one copy of the output matrix to the next ({})",
          kDefaultHeadRefresh)
          .c_str());
  add("--local-loss", options.local_loss, "NAME",
      "What each loss inside the model minimizes: pred (cross-entropy of its head); for classes "
      "sim (similarities in a micro-batch, no head), predsim (0.01 pred + 0.99 sim), or without "
      "labels infonce (finds the other view of an image; the last loss too)");
  add("--projection", options.given.projection, "N",
      "Channels in which infonce compares views (128)");
  add("--temperature", options.given.temperature, "X",
      "Divisor of the similarities of infonce (0.5)");
  add("--threads", pipeline.threads_per_rank, "N", "Threads per rank; 0: its share of the cores");
  add("--channel-capacity", options.channel_capacity, "N",
      "Messages that may wait between two ranks before a send blocks");
  add("--timeout", pipeline.timeout_seconds, "SECONDS",
      "Longest time that a rank waits for another; over processes, more than a step takes where "
      "steps have no barrier");
}

}  // namespace

void TrainingOptions::add_to(CLI::App& verb) {
  add_model(verb);
  add_option(verb, "--cut", given.cut, "LIST", "Blocks per stage, such as 3,2,3 (equal)");
  add_option(
      verb, "--micro-batch-size", micro_batch_size, "N",
      fmt::format("Samples per micro-batch ({}; images: {})", kDefaultSequences, kDefaultImages));
  add_option(verb, "--seed", given.pipeline.stage.seed, "N",
             "Seed of initialization, data order and dropout");
  add_optimizer(*this, verb);
  add_execution(*this, verb);
  head_refresh_option_ = verb.get_option("--head-refresh");
}

// One option for all models that have a size of this name; its help lists each one's default.
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
      throw ConfigError(fmt::format("--{} is not a size of {}; leave it out or use another --model",
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
    return model();  // which is refused as a different one
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
}

void TrainingOptions::note_model(const ModelConfig& found) const {
  if (head_refresh_option_->count() == 0 && parse_local_head(local_head) == LocalHead::Shared) {
    head_refresh_option_->add_result(std::to_string(kDefaultHeadRefresh));
  }
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

TrainingConfig TrainingOptions::config() const {
  TrainingConfig config = config_without_model();
  take_model(model(), config);
  return config;
}

TrainingConfig TrainingOptions::config_without_model() const {
  using Forward = Recompute::Forward;
  TrainingConfig config = given;
  config.recompute.recomputed = chosen<Forward>("--recompute", recompute,
                                                {{"none", Forward::Kept},
                                                 {"block", Forward::OfBlocks},
                                                 {"attention", Forward::OfAttention},
                                                 {"feed-forward", Forward::OfFeedForward}});
  config.local_head = parse_local_head(local_head);
  if (head_refresh && config.local_head != LocalHead::Shared) {
    throw ConfigError(
        "--head-refresh needs --local-head shared, whose copies of the output matrix it refreshes");
  }
  config.pipeline.head_refresh = head_refresh.value_or(kDefaultHeadRefresh);
  config.local_loss = chosen<LocalLoss>("--local-loss", local_loss,
                                        {{"pred", LocalLoss::Pred},
                                         {"sim", LocalLoss::Sim},
                                         {"predsim", LocalLoss::PredSim},
                                         {"infonce", LocalLoss::InfoNce}});
  Stage::Options& stage = config.pipeline.stage;
  stage.optimizer.kind = chosen<OptimizerKind>(
      "--optimizer", optimizer, {{"adamw", OptimizerKind::AdamW}, {"sgd", OptimizerKind::Sgd}});
  stage.device = parse_device(device);
  stage.product_dtype = chosen<std::optional<at::ScalarType>>(
      "--precision", precision,
      {{"float32", std::nullopt}, {"bfloat16", at::kBFloat16}, {"float16", at::kHalf}});
  stage.weight_gradients = chosen<WeightGradients>(
      "--weight-gradients", weight_gradients,
      {{"looped", WeightGradients::Looped}, {"concatenated", WeightGradients::Concatenated}});
  UpdateOptions& update = config.pipeline.update;
  update.loss_scale = parse_loss_scale(loss_scale, precision == "float16");
  update.clip_scope = chosen<ClipScope>("--clip-scope", clip_scope,
                                        {{"model", ClipScope::Model}, {"stage", ClipScope::Stage}});
  return config;
}

}  // namespace halfback::cli
