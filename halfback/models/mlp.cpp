#include "halfback/models/mlp.h"

#include "halfback/layers/classifier_head.h"
#include "halfback/layers/linear.h"
#include "halfback/layers/pooling.h"
#include "halfback/layers/relu.h"
#include "halfback/models/cut.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace halfback {

namespace {

// The initial weight is normal with variance 2 / inputs, as for any layer before a ReLU.
void add_hidden(const MlpConfig& config, std::int64_t index, StageLayers& stage) {
  const std::int64_t inputs = index == 0 ? config.num_inputs : config.width;
  const LayerPlace place{.block = static_cast<int>(index)};
  stage.add(std::make_unique<Linear>(
                fmt::format("layers.{}", index),
                LinearOptions{.num_inputs = inputs,
                              .num_outputs = config.width,
                              .has_bias = true,
                              .standard_deviation = std::sqrt(2.0 / static_cast<double>(inputs)),
                              .has_data_input = index == 0}),
            place);
  stage.add(std::make_unique<Relu>(), place);
}

}  // namespace

ModelSizes sizes_of(MlpConfig& config) {
  return {{"layers", "Hidden layers", &config.num_layers},
          {"inputs", "Values per sample", &config.num_inputs},
          {"width", "Channels", &config.width},
          {"classes", "Classes", &config.num_classes}};
}

void check(const MlpConfig& config) {
  MlpConfig copy = config;
  check_whole_numbers(sizes_of(copy));
}

std::int64_t num_parameters(const MlpConfig& config) {
  const std::int64_t first = config.width * (config.num_inputs + 1);
  const std::int64_t others = (config.num_layers - 1) * config.width * (config.width + 1);
  return first + others + config.num_classes * (config.width + 1);
}

std::vector<StageLayers> build_mlp(const MlpConfig& config,
                                   const std::vector<int>& layers_per_stage) {
  check(config);
  const std::vector<std::size_t> stage_of_blocks =
      stages_of_blocks(layers_per_stage, config.num_layers);
  std::vector<StageLayers> stages(layers_per_stage.size());
  stages.front().add(std::make_unique<Flatten>());
  std::int64_t index = 0;
  for (const std::size_t stage : stage_of_blocks) {
    add_hidden(config, index++, stages[stage]);
  }
  stages.back().loss = std::make_unique<ClassifierHead>(
      "head",
      ClassifierHead::Options{.num_channels = config.width, .num_classes = config.num_classes});
  return stages;
}

}  // namespace halfback
