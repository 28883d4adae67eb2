// ResNets: sizes, names, cuts, and gradients against the same network in ATen's own operators.
#include "halfback/models/resnet.h"

#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "tests/support/errors.h"
#include "tests/support/layer_checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/nll_loss.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <numeric>
#include <string>
#include <vector>

namespace halfback {
namespace {

ResnetConfig tiny(std::int64_t depth, bool has_small_stem) {
  return {.depth = depth,
          .width = 3,
          .num_classes = 5,
          .image_channels = 2,
          .image_height = has_small_stem ? 9 : 35,
          .image_width = has_small_stem ? 10 : 33,
          .has_small_stem = has_small_stem};
}

std::map<std::string, std::vector<std::int64_t>> shapes_by_name(const ResnetConfig& config,
                                                                const std::vector<int>& cut) {
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const StageLayers& stage : build_resnet(config, cut)) {
    for (const Parameter* parameter : stage.parameters()) {
      EXPECT_TRUE(shapes.emplace(parameter->name, parameter->shape).second) << parameter->name;
    }
  }
  return shapes;
}

ResnetConfig imagenet(std::int64_t depth) {
  return {.depth = depth,
          .num_classes = 1000,
          .image_channels = 3,
          .image_height = 224,
          .image_width = 224,
          .has_small_stem = false};
}

// The numbers that torchvision states for its models.
TEST(ResnetTest, HasTorchvisionsNumberOfParameters) {
  const std::map<std::int64_t, std::int64_t> expected = {
      {18, 11689512}, {34, 21797672}, {50, 25557032}, {101, 44549160}, {152, 60192808}};
  for (const auto& [depth, number] : expected) {
    EXPECT_EQ(num_parameters(imagenet(depth)), number) << depth;
  }
}

TEST(ResnetTest, HasTorchvisionsNames) {
  const auto shapes = shapes_by_name(imagenet(50), {5, 6, 5});
  EXPECT_EQ(shapes.size(), 320U);  // len(torchvision.models.resnet50().state_dict())
  using Shape = std::vector<std::int64_t>;
  EXPECT_EQ(shapes.at("conv1.weight"), (Shape{64, 3, 7, 7}));
  EXPECT_EQ(shapes.at("bn1.running_var"), Shape{64});
  EXPECT_EQ(shapes.at("bn1.num_batches_tracked"), Shape{});
  EXPECT_EQ(shapes.at("layer1.0.conv1.weight"), (Shape{64, 64, 1, 1}));
  EXPECT_EQ(shapes.at("layer1.0.downsample.0.weight"), (Shape{256, 64, 1, 1}));
  EXPECT_EQ(shapes.at("layer3.5.conv2.weight"), (Shape{256, 256, 3, 3}));
  EXPECT_EQ(shapes.at("layer4.2.bn3.bias"), Shape{2048});
  EXPECT_EQ(shapes.at("fc.weight"), (Shape{1000, 2048}));
  EXPECT_EQ(shapes.at("fc.bias"), Shape{1000});
  EXPECT_EQ(shapes.count("layer1.1.downsample.0.weight"), 0U);
  const auto basic = shapes_by_name({.depth = 18}, {8});
  EXPECT_EQ(basic.size(), 122U);  // len(torchvision.models.resnet18().state_dict())
  EXPECT_EQ(basic.count("layer1.0.downsample.0.weight"), 0U);
  EXPECT_EQ(basic.at("layer2.0.downsample.0.weight"), (Shape{128, 64, 1, 1}));
}

TEST(ResnetTest, TheCutChangesNeitherNamesNorTheirOrder) {
  const auto names = [](const std::vector<int>& cut) {
    std::vector<std::string> all;
    for (const StageLayers& stage : build_resnet(tiny(18, true), cut)) {
      for (const Parameter* parameter : stage.parameters()) {
        all.push_back(parameter->name);
      }
    }
    return all;
  };
  EXPECT_EQ(names({8}), names({3, 3, 2}));
  EXPECT_EQ(names({8}), names({1, 1, 1, 1, 1, 1, 1, 1}));
}

TEST(ResnetTest, StagesHaveTheirBlocksAndTheEndsOfTheModel) {
  const auto stages = build_resnet(tiny(34, false), {5, 1, 10});
  ASSERT_EQ(stages.size(), 3U);
  EXPECT_EQ(stages[0].layers.size(), 3U + 5);  // convolution, norm, pooling
  EXPECT_EQ(stages[1].layers.size(), 1U);
  EXPECT_EQ(stages[2].layers.size(), 10U + 1);
  EXPECT_EQ(stages[1].loss, nullptr);
  EXPECT_NE(stages[2].loss, nullptr);
  EXPECT_EQ(build_resnet(tiny(18, true), {8})[0].layers.size(), 2U + 8 + 1);
}

TEST(ResnetTest, CountsItsBlocks) {
  const std::map<std::int64_t, int> expected = {{18, 8},   {34, 16}, {50, 16}, {101, 33},
                                                {152, 50}, {8, 3},   {20, 9},  {32, 15},
                                                {44, 21},  {56, 27}, {110, 54}};
  for (const auto& [depth, number] : expected) {
    EXPECT_EQ(num_blocks({.depth = depth}), number);
  }
}

TEST(ResnetTest, StatesShapesFromImagesToFeatures) {
  std::vector<Shape> shapes = {{2, 3, 224, 224}};
  const std::vector<StageLayers> stages = build_resnet({.depth = 50}, {16});
  for (const auto& layer : stages.front().layers) {
    shapes = layer->describe(shapes, 4).shapes;
  }
  EXPECT_EQ(shapes, (std::vector<Shape>{{2, 2048}}));
}

TEST(ResnetTest, RefusesDepthsAndSizesThatNobodyHas) {
  const auto text = [](const ResnetConfig& config) {
    return text_of_thrown<ConfigError>([&] { check(config); });
  };
  EXPECT_EQ(text({.depth = 19}),
            "model: --depth is 19; expected 18, 34, 50, 101 or 152, or for small images 8, 20, 32, "
            "44, 56 or 110");
  EXPECT_EQ(text({.width = 0}), "model: --width is 0; expected a number from 1 to 16777216");
  EXPECT_TRUE(contains(text({.num_classes = -1}), "--classes is -1"));
  EXPECT_TRUE(contains(text({.image_channels = 0}), "--image-channels is 0"));
  EXPECT_TRUE(contains(text({.image_height = 0}), "--image-height is 0"));
  EXPECT_TRUE(contains(text({.image_width = 1 << 30}), "--image-width is 1073741824"));
  EXPECT_THROW(build_resnet(tiny(18, true), {3, 4}), std::logic_error);
}

// The network as torchvision's forward() has it, on leaves by their names.
class GraphResnet {
 public:
  GraphResnet(const ResnetConfig& config, const std::vector<Parameter*>& parameters)
      : config_(config) {
    for (const Parameter* parameter : trained(parameters)) {
      leaves_[parameter->name] = parameter->value.clone().set_requires_grad(true);
    }
  }

  at::Tensor loss(const MicroBatch& batch) const {
    const std::int64_t stride = config_.has_small_stem ? 1 : 2;
    const std::int64_t padding = config_.has_small_stem ? 1 : 3;
    at::Tensor x = at::relu(
        norm("bn1", at::conv2d(batch.inputs[0], leaf("conv1.weight"), {}, stride, padding)));
    if (!config_.has_small_stem) {
      x = at::max_pool2d(x, 3, 2, 1);
    }
    for (int group = 1; group <= 4; ++group) {
      for (int i = 0; has(fmt::format("layer{}.{}.conv1.weight", group, i)); ++i) {
        x = block(fmt::format("layer{}.{}", group, i), x, group > 1 && i == 0 ? 2 : 1);
      }
    }
    const at::Tensor logits = at::linear(x.mean({2, 3}), leaf("fc.weight"), leaf("fc.bias"));
    return at::nll_loss(at::log_softmax(logits, 1), batch.targets, {}, at::Reduction::Sum);
  }

  const at::Tensor& leaf(const std::string& name) const { return leaves_.at(name); }

 private:
  bool has(const std::string& name) const { return leaves_.count(name) != 0; }

  at::Tensor norm(const std::string& name, const at::Tensor& x) const {
    return at::batch_norm(x, leaf(name + ".weight"), leaf(name + ".bias"), {}, {},
                          /*training=*/true, 0.1, 1e-5, /*cudnn_enabled=*/false);
  }

  at::Tensor block(const std::string& name, const at::Tensor& x, std::int64_t stride) const {
    const bool is_bottleneck = has(name + ".conv3.weight");
    const auto conv = [&](int number, const at::Tensor& input, std::int64_t by) {
      const at::Tensor& weight = leaf(fmt::format("{}.conv{}.weight", name, number));
      return norm(fmt::format("{}.bn{}", name, number),
                  at::conv2d(input, weight, {}, by, weight.size(2) / 2));
    };
    at::Tensor y = at::relu(conv(1, x, is_bottleneck ? 1 : stride));
    y = conv(2, y, is_bottleneck ? stride : 1);
    if (is_bottleneck) {
      y = conv(3, at::relu(y), 1);
    }
    const std::string shortcut = name + ".downsample.0.weight";
    return at::relu(
        y + (has(shortcut) ? norm(name + ".downsample.1", at::conv2d(x, leaf(shortcut), {}, stride))
                           : x));
  }

  ResnetConfig config_;
  std::map<std::string, at::Tensor> leaves_;
};

MicroBatch some_images(const ResnetConfig& config, std::uint64_t seed) {
  Random random(seed);
  return {{random.normal({3, config.image_channels, config.image_height, config.image_width},
                         at::kDouble)},
          random.ids({3}, config.num_classes)};
}

class ResnetGradientTest : public testing::TestWithParam<std::tuple<std::int64_t, bool>> {};

// F of both micro-batches, then I of both, then W of both. Returns the mean loss of 6 images.
double loss_in_flight(Stage& stage, const std::vector<MicroBatch>& batches) {
  const c10::InferenceMode no_graph;
  double loss = 0.0;
  stage.begin_step(2);
  for (const int i : {0, 1}) {
    const MicroBatch& batch = batches[static_cast<std::size_t>(i)];
    loss += stage.forward(i, batch.inputs, batch.targets).loss;
  }
  for (const int i : {0, 1}) {
    stage.backward_input({.micro_batch = i}, {}, 1.0 / 6.0);
  }
  stage.backward_weight(std::array{0, 1});
  return loss / 6.0;
}

// Two micro-batches in flight, after a step of training: both are where other implementations went
// wrong.
TEST_P(ResnetGradientTest, EqualsTheSameNetworkInTorchsOperators) {
  const auto [depth, has_small_stem] = GetParam();
  const ResnetConfig config = tiny(depth, has_small_stem);
  Stage::Options options;
  options.dtype = at::kDouble;
  PlainRun run(std::move(build_resnet(config, {num_blocks(config)}).front()), options, {});
  run.initialize(7);
  const std::vector<MicroBatch> batches = {some_images(config, 1), some_images(config, 2)};
  run.train_step(batches, 1, 1e-2);
  const double found = loss_in_flight(run.stage(), batches);

  const GraphResnet graph(config, run.stage().store().parameters());
  const at::Tensor loss = (graph.loss(batches[0]) + graph.loss(batches[1])) / 6.0;
  loss.backward();
  EXPECT_NEAR(found, loss.item<double>(), 1e-10);
  for (const Parameter* parameter : trained(run.stage().store().parameters())) {
    EXPECT_LT(relative_error(parameter->gradient, graph.leaf(parameter->name).grad()), 1e-8)
        << parameter->name;
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         ResnetGradientTest,
                         testing::Combine(testing::Values(8, 18, 20, 50), testing::Bool()));

TEST(ResnetTest, LearnsItsImages) {
  const ResnetConfig config = tiny(18, true);
  PlainRun run(std::move(build_resnet(config, {8}).front()), {.dtype = at::kDouble}, {});
  run.initialize(3);
  const std::vector<MicroBatch> batches = {some_images(config, 1), some_images(config, 2)};
  const double first = run.train_step(batches, 1, 1e-2).loss;
  double last = first;
  for (int step = 2; step <= 15; ++step) {
    last = run.train_step(batches, step, 1e-2).loss;
  }
  EXPECT_LT(last, 0.2 * first);
}

}  // namespace
}  // namespace halfback
