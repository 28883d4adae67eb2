#include "halfback/models/mlp.h"

#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "tests/support/errors.h"
#include "tests/support/layer_checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/nll_loss.h>
#include <ATen/ops/relu.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback {
namespace {

MlpConfig tiny() { return {.num_layers = 3, .num_inputs = 12, .width = 7, .num_classes = 5}; }

TEST(MlpTest, CountsAndNamesItsParameters) {
  std::vector<std::string> names;
  std::int64_t total = 0;
  for (const StageLayers& stage : build_mlp(tiny(), {2, 1})) {
    for (const Parameter* parameter : stage.parameters()) {
      names.push_back(parameter->name);
      total += parameter->numel();
    }
  }
  EXPECT_EQ(names, (std::vector<std::string>{"layers.0.weight", "layers.0.bias", "layers.1.weight",
                                             "layers.1.bias", "layers.2.weight", "layers.2.bias",
                                             "head.weight", "head.bias"}));
  EXPECT_EQ(total, num_parameters(tiny()));
}

TEST(MlpTest, RefusesSizesThatNobodyHas) {
  MlpConfig config = tiny();
  config.num_layers = 0;
  EXPECT_EQ(text_of_thrown<ConfigError>([&] { check(config); }),
            "model: --layers is 0; expected a number from 1 to 16777216");
  config = tiny();
  config.num_inputs = -3;
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { check(config); }), "inputs is -3"));
  EXPECT_THROW(build_mlp(tiny(), {1, 1}), std::logic_error);
}

TEST(MlpTest, RefusesToRecomputeLayersThatItDoesNotHave) {
  std::vector<StageLayers> stages = build_mlp(tiny(), {3});
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] {
                         apply_recompute({.recomputed = Recompute::Forward::OfAttention}, stages);
                       }),
                       "model: it has no layers of the kind that --recompute names"));
}

TEST(MlpTest, GradientsEqualAutograd) {
  Stage::Options options;
  options.dtype = at::kDouble;
  PlainRun run(std::move(build_mlp(tiny(), {3}).front()), options, {});
  run.initialize(7);
  Random random;
  std::vector<MicroBatch> batches;
  for (int i = 0; i < 2; ++i) {
    batches.push_back({{random.normal({4, 1, 3, 4}, at::kDouble)}, random.ids({4}, 5)});
  }
  run.accumulate_gradients(batches);

  std::vector<at::Tensor> leaves;
  for (const Parameter* parameter : run.stage().store().parameters()) {
    leaves.push_back(parameter->value.clone().set_requires_grad(true));
  }
  for (const MicroBatch& batch : batches) {
    at::Tensor x = batch.inputs[0].flatten(1);
    for (std::size_t i = 0; i < 6; i += 2) {
      x = at::relu(at::linear(x, leaves[i], leaves[i + 1]));
    }
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
