#include "halfback/models/local_heads.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/layers/batch_norm.h"
#include "halfback/layers/classifier_head.h"
#include "halfback/layers/contrastive_loss.h"
#include "halfback/layers/convolution.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/layers/layered_loss.h"
#include "halfback/layers/linear.h"
#include "halfback/layers/masked_loss.h"
#include "halfback/layers/pooling.h"
#include "halfback/layers/relu.h"
#include "halfback/layers/shared_head.h"
#include "halfback/layers/similarity_loss.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace halfback {

namespace {

constexpr const char* kPrefix = "local_heads.";

struct Named {
  const char* name;
  LocalHead head;
};
constexpr std::array<Named, 6> kHeads = {{{"linear", LocalHead::Linear},
                                          {"mlp-1", LocalHead::Mlp1},
                                          {"mlp-2", LocalHead::Mlp2},
                                          {"mlp-sr", LocalHead::MlpSr},
                                          {"cnn", LocalHead::Cnn},
                                          {"shared", LocalHead::Shared}}};

// Collects the layers of a head in order, and tracks the current number of channels.
class HeadBuilder {
 public:
  explicit HeadBuilder(const LocalHeadPlace& place)
      : place_(place), num_channels_(place.input_shape[1]) {}

  void add(std::unique_ptr<Layer> layer) { layers_.push_back(std::move(layer)); }

  void add_hidden(bool has_norm) {
    const double variance = 2.0 / static_cast<double>(num_channels_);
    add(std::make_unique<Linear>(next_name(),
                                 LinearOptions{.num_inputs = num_channels_,
                                               .num_outputs = num_channels_,
                                               .has_bias = !has_norm,
                                               .standard_deviation = std::sqrt(variance)}));
    if (has_norm) {
      add_norm();
    } else {
      add(std::make_unique<Relu>());
    }
  }

  void add_convolution(std::int64_t window, std::int64_t num_outputs) {
    add(std::make_unique<Convolution>(next_name(), Convolution::Options{.num_inputs = num_channels_,
                                                                        .num_outputs = num_outputs,
                                                                        .window = window,
                                                                        .padding = window / 2}));
    num_channels_ = num_outputs;
    add_norm();
  }

  void add_means(std::int64_t grid) {
    add(std::make_unique<AveragePool>(AveragePool::Options{.grid = grid}));
    add(std::make_unique<Flatten>());
    num_channels_ *= grid * grid;
  }

  std::int64_t num_channels() const { return num_channels_; }

  std::unique_ptr<LossLayer> finish() {
    auto loss = std::make_unique<ClassifierHead>(
        place_.name + ".classifier",
        ClassifierHead::Options{.num_channels = num_channels_, .num_classes = place_.num_outcomes});
    if (layers_.empty()) {
      return loss;
    }
    return std::make_unique<LayeredLoss>(take_layers(), std::move(loss));
  }

  std::vector<std::unique_ptr<Layer>> take_layers() { return std::move(layers_); }

 private:
  // Adds a batch norm with ReLU.
  void add_norm() {
    add(std::make_unique<BatchNorm>(
        next_name(), BatchNorm::Options{.num_channels = num_channels_, .has_relu = true}));
  }

  std::string next_name() { return fmt::format("{}.{}", place_.name, next_++); }

  const LocalHeadPlace& place_;
  std::int64_t num_channels_;
  int next_ = 0;
  std::vector<std::unique_ptr<Layer>> layers_;
};

void add_mlp(const LocalHeadPlace& place, int num_hidden, HeadBuilder& builder) {
  if (place.input_shape.size() == 4) {
    builder.add(std::make_unique<GlobalAveragePool>());
  }
  for (int i = 0; i < num_hidden; ++i) {
    builder.add_hidden(false);
  }
}

std::unique_ptr<LossLayer> make_mlp(const LocalHeadPlace& place, int num_hidden) {
  HeadBuilder builder(place);
  add_mlp(place, num_hidden, builder);
  return builder.finish();
}

std::unique_ptr<LossLayer> make_mlp_sr(const LocalHeadPlace& place) {
  HeadBuilder builder(place);
  builder.add(std::make_unique<AveragePool>(AveragePool::Options{.divisor = 4}));
  for (int i = 0; i < 3; ++i) {
    builder.add_convolution(1, builder.num_channels());
  }
  builder.add_means(2);
  for (int i = 0; i < 3; ++i) {
    builder.add_hidden(true);
  }
  return builder.finish();
}

std::unique_ptr<LossLayer> make_cnn(const LocalHeadPlace& place) {
  HeadBuilder builder(place);
  builder.add_convolution(3, builder.num_channels());
  builder.add_convolution(3, (builder.num_channels() + 1) / 2);
  builder.add(std::make_unique<GlobalAveragePool>());
  return builder.finish();
}

std::unique_ptr<Layer> make_linear_map(const std::string& name,
                                       std::int64_t num_inputs,
                                       std::int64_t num_outputs) {
  const double variance = 1.0 / (3.0 * static_cast<double>(num_inputs));
  return std::make_unique<Linear>(name, LinearOptions{.num_inputs = num_inputs,
                                                      .num_outputs = num_outputs,
                                                      .standard_deviation = std::sqrt(variance)});
}

// Returns the linear map in front of similarities: it keeps the number of channels.
std::unique_ptr<Layer> make_map(const LocalHeadPlace& place) {
  const std::string name = place.name + ".similarity";
  const std::int64_t channels = place.input_shape[1];
  if (place.input_shape.size() == 4) {
    return std::make_unique<Convolution>(
        name, Convolution::Options{
                  .num_inputs = channels, .num_outputs = channels, .window = 3, .padding = 1});
  }
  return make_linear_map(name, channels, channels);
}

void check_admits(LocalHead head, const LocalHeadPlace& place) {
  const bool needs_images = head == LocalHead::MlpSr || head == LocalHead::Cnn;
  if (place.task != Task::Classes && head != LocalHead::Linear && head != LocalHead::Shared) {
    throw ConfigError(fmt::format(
        "local head: {} predicts classes, not tokens; expected linear or shared", to_string(head)));
  }
  if (place.task == Task::Classes && head == LocalHead::Shared) {
    throw ConfigError(
        "local head: shared predicts tokens, by a copy of the output matrix, not classes; expected "
        "linear, mlp-1, mlp-2, mlp-sr or cnn");
  }
  if (needs_images && place.input_shape.size() != 4) {
    throw ConfigError(fmt::format(
        "local head: {} reads images, and the stage gives {} numbers per sample; expected "
        "linear, mlp-1 or mlp-2",
        to_string(head), place.input_shape.back()));
  }
}

// Reads rows that all have a target.
std::unique_ptr<LossLayer> make_word_head(LocalHead head, const LocalHeadPlace& place) {
  if (head == LocalHead::Shared) {
    return std::make_unique<SharedHead>(
        place.name, SharedHead::Options{.num_channels = place.input_shape.back(),
                                        .vocabulary = place.num_outcomes});
  }
  return std::make_unique<LanguageModelHead>(
      LanguageModelHead::Options{.num_channels = place.input_shape.back(),
                                 .vocabulary = place.num_outcomes,
                                 .norm_name = place.name + ".norm",
                                 .weight_name = place.name + ".weight"});
}

// Returns the number of the last block of a stage.
int last_block(const StageLayers& stage) {
  int block = -1;
  for (const LayerPlace& place : stage.places) {
    block = std::max(block, place.block);
  }
  return block;
}

}  // namespace

std::string to_string(LocalHead head) {
  return std::find_if(kHeads.begin(), kHeads.end(),
                      [head](const Named& entry) { return entry.head == head; })
      ->name;
}

std::vector<std::string> local_head_names() {
  std::vector<std::string> names;
  for (const Named& entry : kHeads) {
    names.emplace_back(entry.name);
  }
  return names;
}

LocalHead parse_local_head(const std::string& name) {
  const auto found = std::find_if(kHeads.begin(), kHeads.end(),
                                  [&](const Named& entry) { return entry.name == name; });
  if (found == kHeads.end()) {
    throw ConfigError(fmt::format(
        "local head: '{}' is not known{}; expected {}", name.substr(0, 40),
        suggestion(name.substr(0, 40), local_head_names()), fmt::join(local_head_names(), ", ")));
  }
  return found->head;
}

std::unique_ptr<LossLayer> make_local_head(LocalHead head, const LocalHeadPlace& place) {
  check_admits(head, place);
  if (place.task != Task::Classes) {
    std::unique_ptr<LossLayer> loss = make_word_head(head, place);
    return place.task == Task::MaskedToken
               ? std::make_unique<MaskedLoss>(std::move(loss), place.targets_per_sample)
               : std::move(loss);
  }
  switch (head) {
    case LocalHead::Linear:
      return make_mlp(place, 0);
    case LocalHead::Mlp1:
      return make_mlp(place, 1);
    case LocalHead::Mlp2:
      return make_mlp(place, 2);
    case LocalHead::MlpSr:
      return make_mlp_sr(place);
    case LocalHead::Cnn:
    case LocalHead::Shared:
      break;
  }
  return make_cnn(place);
}

std::string to_string(LocalLoss loss) {
  constexpr std::array<const char*, 4> kNames = {"pred", "sim", "predsim", "infonce"};
  return kNames[static_cast<std::size_t>(loss)];
}

std::unique_ptr<LossLayer> make_local_loss(LocalLoss loss,
                                           LocalHead head,
                                           const LocalHeadPlace& place) {
  if (loss == LocalLoss::Pred) {
    return make_local_head(head, place);
  }
  if (place.task != Task::Classes) {
    throw ConfigError(
        fmt::format("local loss: {} compares classes, not tokens; expected pred", to_string(loss)));
  }
  if (head == LocalHead::Shared) {
    check_admits(head, place);  // also if the loss has no head
  }
  LossBeside beside;
  if (loss == LocalLoss::PredSim) {
    const bool reads_vectors = place.input_shape.size() != 4;
    beside = {.loss = make_local_head(head, place),
              .keeps_input = reads_vectors || head == LocalHead::Cnn};
  }
  return std::make_unique<SimilarityLoss>(make_map(place), place.num_outcomes, std::move(beside));
}

std::unique_ptr<LossLayer> make_contrastive_loss(const Contrast& contrast,
                                                 const LocalHeadPlace& place,
                                                 std::unique_ptr<LossLayer> replaced) {
  if (place.task != Task::Classes) {
    throw ConfigError("local loss: infonce compares views of images, not tokens; expected pred");
  }
  HeadBuilder builder(place);
  add_mlp(place, 1, builder);
  builder.add(
      make_linear_map(place.name + ".projection", builder.num_channels(), contrast.projection));
  return std::make_unique<LayeredLoss>(builder.take_layers(),
                                       std::make_unique<ContrastiveLoss>(contrast.temperature),
                                       std::move(replaced));
}

bool is_of_local_head(const std::string& name) { return name.starts_with(kPrefix); }

void add_local_heads(const ModelConfig& config,
                     const BuildOptions& options,
                     std::vector<StageLayers>& stages) {
  LocalHeadPlace place{.name = {},
                       .task = task_of(config),
                       .input_shape = input_shape(config, 1),
                       .num_outcomes = num_outcomes(config)};
  if (const auto* const bert = std::get_if<BertConfig>(&config)) {
    place.targets_per_sample = bert->num_masked(bert->sequence);
  }
  const bool contrasts = options.local_loss == LocalLoss::InfoNce;
  const std::size_t num_local = contrasts ? stages.size() : stages.size() - 1;
  for (std::size_t number = 0; number < num_local; ++number) {
    StageLayers& stage = stages[number];
    for (const auto& layer : stage.layers) {
      place.input_shape = layer->describe({place.input_shape}, sizeof(float)).shapes.front();
    }
    const auto found = std::find(options.stages_with_loss.begin(), options.stages_with_loss.end(),
                                 static_cast<int>(number));
    if (found != options.stages_with_loss.end()) {
      place.name = fmt::format("{}{}", kPrefix, last_block(stage));
      stage.loss = contrasts ? make_contrastive_loss(options.contrast, place, std::move(stage.loss))
                             : make_local_loss(options.local_loss, options.local_head, place);
    }
  }
}

}  // namespace halfback
