#include "halfback/models/cnn.h"

#include "halfback/base/error.h"
#include "halfback/layers/classifier_head.h"
#include "halfback/layers/convolution.h"
#include "halfback/layers/linear.h"
#include "halfback/layers/pooling.h"
#include "halfback/layers/relu.h"
#include "halfback/models/cut.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace halfback {

namespace {

constexpr std::int64_t kMostLayers = 16;

std::int64_t channels_of(const CnnConfig& config, std::int64_t layer) {
  return layer < 0 ? config.image_channels : config.width << layer;
}

// Returns the inputs of the hidden layer.
std::int64_t num_features(const CnnConfig& config) {
  return channels_of(config, config.num_layers - 1) * (config.image_height >> config.num_layers) *
         (config.image_width >> config.num_layers);
}

void add_convolution(const CnnConfig& config, std::int64_t index, StageLayers& stage) {
  const LayerPlace place{.block = static_cast<int>(index)};
  stage.add(std::make_unique<Convolution>(
                fmt::format("layers.{}", index),
                Convolution::Options{.num_inputs = channels_of(config, index - 1),
                                     .num_outputs = channels_of(config, index),
                                     .window = 5,
                                     .padding = 2,
                                     .has_bias = true,
                                     .has_data_input = index == 0}),
            place);
  stage.add(std::make_unique<Relu>(), place);
  stage.add(std::make_unique<MaxPool>(kernels::PoolWindow{.size = 2, .stride = 2, .padding = 0}),
            place);
}

// The initial weight is normal with variance 2 / inputs, as for any layer before a ReLU.
void add_hidden(const CnnConfig& config, StageLayers& stage) {
  const LayerPlace place{.block = static_cast<int>(config.num_layers)};
  const std::int64_t inputs = num_features(config);
  stage.add(std::make_unique<Flatten>(), place);
  stage.add(std::make_unique<Linear>(
                "hidden",
                LinearOptions{.num_inputs = inputs,
                              .num_outputs = config.hidden,
                              .has_bias = true,
                              .standard_deviation = std::sqrt(2.0 / static_cast<double>(inputs))}),
            place);
  stage.add(std::make_unique<Relu>(), place);
}

}  // namespace

ModelSizes sizes_of(CnnConfig& config) {
  return {{"layers", "Hidden layers", &config.num_layers},
          {"width", "Channels", &config.width},
          {"hidden", "Channels of the hidden layer", &config.hidden},
          {"classes", "Classes", &config.num_classes},
          {"image-channels", "Channels per image", &config.image_channels},
          {"image-height", "Pixels", &config.image_height},
          {"image-width", "Pixels", &config.image_width}};
}

void check(const CnnConfig& config) {
  CnnConfig copy = config;
  check_whole_numbers(sizes_of(copy));
  const std::int64_t smaller = std::min(config.image_height, config.image_width);
  if (config.num_layers > kMostLayers || (smaller >> config.num_layers) == 0) {
    throw ConfigError(fmt::format(
        "model: --layers is {}; each halves the images, of {} x {} pixels here; use fewer",
        config.num_layers, config.image_height, config.image_width));
  }
}

int num_blocks(const CnnConfig& config) {
  check(config);
  return static_cast<int>(config.num_layers) + 1;
}

std::int64_t num_parameters(const CnnConfig& config) {
  std::int64_t total =
      config.hidden * (num_features(config) + 1) + config.num_classes * (config.hidden + 1);
  for (std::int64_t layer = 0; layer < config.num_layers; ++layer) {
    total += channels_of(config, layer) * (25 * channels_of(config, layer - 1) + 1);
  }
  return total;
}

std::vector<StageLayers> build_cnn(const CnnConfig& config,
                                   const std::vector<int>& blocks_per_stage) {
  check(config);
  const std::vector<std::size_t> stage_of_blocks =
      stages_of_blocks(blocks_per_stage, num_blocks(config));
  std::vector<StageLayers> stages(blocks_per_stage.size());
  for (std::int64_t index = 0; index < config.num_layers; ++index) {
    add_convolution(config, index, stages[stage_of_blocks[static_cast<std::size_t>(index)]]);
  }
  add_hidden(config, stages[stage_of_blocks.back()]);
  stages.back().loss = std::make_unique<ClassifierHead>(
      "head",
      ClassifierHead::Options{.num_channels = config.hidden, .num_classes = config.num_classes});
  return stages;
}

}  // namespace halfback
