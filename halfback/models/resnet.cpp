#include "halfback/models/resnet.h"

#include "halfback/base/error.h"
#include "halfback/layers/batch_norm.h"
#include "halfback/layers/classifier_head.h"
#include "halfback/layers/convolution.h"
#include "halfback/layers/pooling.h"
#include "halfback/layers/residual_block.h"
#include "halfback/models/cut.h"

#include <fmt/format.h>

#include <map>
#include <numeric>
#include <utility>

namespace halfback {

namespace {

constexpr std::int64_t kBottleneckExpansion = 4;

struct Variant {
  std::vector<int> blocks;  // by group
  bool has_bottlenecks = false;
};

const std::map<std::int64_t, Variant>& variants() {
  static const std::map<std::int64_t, Variant> all = {{8, {{1, 1, 1}}},
                                                      {20, {{3, 3, 3}}},
                                                      {32, {{5, 5, 5}}},
                                                      {44, {{7, 7, 7}}},
                                                      {56, {{9, 9, 9}}},
                                                      {110, {{18, 18, 18}}},
                                                      {18, {{2, 2, 2, 2}}},
                                                      {34, {{3, 4, 6, 3}}},
                                                      {50, {{3, 4, 6, 3}, true}},
                                                      {101, {{3, 4, 23, 3}, true}},
                                                      {152, {{3, 8, 36, 3}, true}}};
  return all;
}

std::int64_t expansion(const Variant& variant) {
  return variant.has_bottlenecks ? kBottleneckExpansion : 1;
}

// The place and the channels of one residual block.
struct BlockPlan {
  std::string name;
  std::int64_t inputs = 0;  // channels
  std::int64_t width = 0;   // channels inside
  std::int64_t outputs = 0;
  std::int64_t stride = 1;
};

std::vector<BlockPlan> plan_blocks(const ResnetConfig& config) {
  const Variant& variant = variants().at(config.depth);
  std::vector<BlockPlan> plans;
  std::int64_t inputs = config.width;
  for (std::size_t group = 0; group < variant.blocks.size(); ++group) {
    const std::int64_t width = config.width << group;
    for (int i = 0; i < variant.blocks[group]; ++i) {
      plans.push_back({.name = fmt::format("layer{}.{}", group + 1, i),
                       .inputs = inputs,
                       .width = width,
                       .outputs = width * expansion(variant),
                       .stride = group > 0 && i == 0 ? 2 : 1});
      inputs = plans.back().outputs;
    }
  }
  return plans;
}

// A convolution without bias and its norm, with torchvision's names.
struct ConvolutionAndNorm {
  std::string convolution;
  std::string norm;
  Convolution::Options options;
  bool has_relu = false;
};
void append(const ConvolutionAndNorm& pair, ResidualBlock::Branch& layers) {
  layers.push_back(std::make_unique<Convolution>(pair.convolution, pair.options));
  layers.push_back(std::make_unique<BatchNorm>(
      pair.norm,
      BatchNorm::Options{.num_channels = pair.options.num_outputs, .has_relu = pair.has_relu}));
}

std::unique_ptr<Layer> make_block(const BlockPlan& plan, bool is_bottleneck) {
  ResidualBlock::Branch main;
  const auto add = [&](int number, const Convolution::Options& options, bool has_relu) {
    append({.convolution = fmt::format("{}.conv{}", plan.name, number),
            .norm = fmt::format("{}.bn{}", plan.name, number),
            .options = options,
            .has_relu = has_relu},
           main);
  };
  const auto three = [](std::int64_t inputs, std::int64_t outputs, std::int64_t stride) {
    return Convolution::Options{
        .num_inputs = inputs, .num_outputs = outputs, .window = 3, .stride = stride, .padding = 1};
  };
  if (is_bottleneck) {
    add(1, {.num_inputs = plan.inputs, .num_outputs = plan.width}, true);
    add(2, three(plan.width, plan.width, plan.stride), true);
    add(3, {.num_inputs = plan.width, .num_outputs = plan.outputs}, false);
  } else {
    add(1, three(plan.inputs, plan.width, plan.stride), true);
    add(2, three(plan.width, plan.outputs, 1), false);
  }
  ResidualBlock::Branch shortcut;
  if (plan.stride > 1 || plan.inputs != plan.outputs) {
    append({.convolution = plan.name + ".downsample.0",
            .norm = plan.name + ".downsample.1",
            .options = {.num_inputs = plan.inputs,
                        .num_outputs = plan.outputs,
                        .stride = plan.stride}},
           shortcut);
  }
  return std::make_unique<ResidualBlock>(std::move(main), std::move(shortcut));
}

void add_stem(const ResnetConfig& config, StageLayers& stage) {
  Convolution::Options options{.num_inputs = config.image_channels,
                               .num_outputs = config.width,
                               .window = 7,
                               .stride = 2,
                               .padding = 3,
                               .has_data_input = true};
  if (config.has_small_stem) {
    options.window = 3;
    options.stride = 1;
    options.padding = 1;
  }
  ResidualBlock::Branch stem;
  append({.convolution = "conv1", .norm = "bn1", .options = options, .has_relu = true}, stem);
  for (std::unique_ptr<Layer>& layer : stem) {
    stage.add(std::move(layer));
  }
  if (!config.has_small_stem) {
    stage.add(std::make_unique<MaxPool>(kernels::PoolWindow{.size = 3, .stride = 2, .padding = 1}));
  }
}

}  // namespace

ModelSizes sizes_of(ResnetConfig& config) {
  return {{"depth", "Layers: 18, 34, 50, 101, 152; for small images 8, 20, 32, 44, 56, 110",
           &config.depth},
          {"width", "Channels", &config.width},
          {"classes", "Classes", &config.num_classes},
          {"image-channels", "Channels per image", &config.image_channels},
          {"image-height", "Pixels", &config.image_height, Fixed::InRun},
          {"image-width", "Pixels", &config.image_width, Fixed::InRun},
          {"small-stem",
           "A first layer for images of about 32 x 32; --small-stem=false: for large ones",
           &config.has_small_stem}};
}

void check(const ResnetConfig& config) {
  if (variants().count(config.depth) == 0) {
    throw ConfigError(
        fmt::format("model: --depth is {}; expected 18, 34, 50, 101 or 152, or for small images 8, "
                    "20, 32, 44, 56 or 110",
                    config.depth));
  }
  ResnetConfig copy = config;
  check_whole_numbers(sizes_of(copy));
}

int num_blocks(const ResnetConfig& config) {
  check(config);
  const Variant& variant = variants().at(config.depth);
  return std::accumulate(variant.blocks.begin(), variant.blocks.end(), 0);
}

std::int64_t num_features(const ResnetConfig& config) {
  const Variant& variant = variants().at(config.depth);
  return (config.width << (variant.blocks.size() - 1)) * expansion(variant);
}

std::int64_t num_parameters(const ResnetConfig& config) {
  const std::vector<StageLayers> stages = build_resnet(config, {num_blocks(config)});
  std::int64_t total = 0;
  for (const Parameter* parameter : stages.front().parameters()) {
    total += parameter->trains ? parameter->numel() : 0;
  }
  return total;
}

std::vector<StageLayers> build_resnet(const ResnetConfig& config,
                                      const std::vector<int>& blocks_per_stage) {
  check(config);
  const std::vector<std::size_t> stage_of_blocks =
      stages_of_blocks(blocks_per_stage, num_blocks(config));
  const std::vector<BlockPlan> plans = plan_blocks(config);
  const Variant& variant = variants().at(config.depth);
  std::vector<StageLayers> stages(blocks_per_stage.size());
  add_stem(config, stages.front());
  auto plan = plans.begin();
  for (const std::size_t stage : stage_of_blocks) {
    const auto block = static_cast<int>(plan - plans.begin());
    stages[stage].add(make_block(*plan++, variant.has_bottlenecks), {.block = block});
  }
  stages.back().add(std::make_unique<GlobalAveragePool>());
  stages.back().loss = std::make_unique<ClassifierHead>(
      "fc", ClassifierHead::Options{.num_channels = num_features(config),
                                    .num_classes = config.num_classes});
  return stages;
}

}  // namespace halfback
