#include "halfback/models/cnn.h"

#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "tests/support/errors.h"
#include "tests/support/layer_checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/max_pool2d.h>
#include <ATen/ops/nll_loss.h>
#include <ATen/ops/relu.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback {
namespace {

CnnConfig tiny() {
  return {.num_layers = 2,
          .width = 3,
          .hidden = 7,
          .num_classes = 5,
          .image_channels = 2,
          .image_height = 9,
          .image_width = 8};
}

TEST(CnnTest, CountsAndNamesItsParameters) {
  std::vector<std::string> names;
  std::int64_t total = 0;
  for (const StageLayers& stage : build_cnn(tiny(), {1, 2})) {
    for (const Parameter* parameter : stage.parameters()) {
      names.push_back(parameter->name);
      total += parameter->numel();
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"layers.0.weight", "layers.0.bias", "layers.1.weight",
                                             "layers.1.bias", "hidden.weight", "hidden.bias",
                                             "head.weight", "head.bias"}));
  EXPECT_EQ(total, num_parameters(tiny()));
  EXPECT_EQ(num_blocks(tiny()), 3);
}

// Shallue et al.: 32 and 64 filters of 5 x 5, 1024 hidden units, images of 28 x 28 pixels.
TEST(CnnTest, IsTheSimpleCnnByDefault) {
  EXPECT_EQ(num_parameters(CnnConfig{}),
            32 * 26 + 64 * (32 * 25 + 1) + 1024 * (64 * 7 * 7 + 1) + 10 * 1025);
}

TEST(CnnTest, RefusesSizesThatNobodyHas) {
  const auto text = [](const CnnConfig& config) {
    return text_of_thrown<ConfigError>([&] { check(config); });
  };
  EXPECT_EQ(text({.hidden = 0}), "model: --hidden is 0; expected a number from 1 to 16777216");
  EXPECT_EQ(text({.num_layers = 5}),
            "model: --layers is 5; each halves the images, of 28 x 28 pixels here; use fewer");
  EXPECT_TRUE(contains(text({.num_layers = 70}), "--layers is 70"));
  EXPECT_THROW(build_cnn(tiny(), {1, 1}), std::logic_error);
}

TEST(CnnTest, GradientsEqualAutograd) {
  Stage::Options options;
  options.dtype = at::kDouble;
  PlainRun run(std::move(build_cnn(tiny(), {3}).front()), options, {});
  run.initialize(7);
  Random random;
  std::vector<MicroBatch> batches;
  for (int i = 0; i < 2; ++i) {
    batches.push_back({{random.normal({4, 2, 9, 8}, at::kDouble)}, random.ids({4}, 5)});
  }
  run.accumulate_gradients(batches);

  std::vector<at::Tensor> leaves;
  for (const Parameter* parameter : run.stage().store().parameters()) {
    leaves.push_back(parameter->value.clone().set_requires_grad(true));
  }
  for (const MicroBatch& batch : batches) {
    at::Tensor x = batch.inputs[0];
    for (std::size_t i = 0; i < 4; i += 2) {
      x = at::max_pool2d(at::relu(at::conv2d(x, leaves[i], leaves[i + 1], 1, 2)), 2, 2);
    }
    x = at::relu(at::linear(x.flatten(1), leaves[4], leaves[5]));
    const at::Tensor rows = at::log_softmax(at::linear(x, leaves[6], leaves[7]), 1);
    (at::nll_loss(rows, batch.targets, {}, at::Reduction::Sum) / 8.0).backward();
  }
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    const Parameter& parameter = *run.stage().store().parameters()[i];
    EXPECT_LT(relative_error(parameter.gradient, leaves[i].grad()), 1e-12) << parameter.name;
  }
}

}  // namespace
}  // namespace halfback
