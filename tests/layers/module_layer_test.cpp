// torch::nn modules as layers. A binary of its own: the headers of torch::nn take half a minute.
#include "halfback/layers/module_layer.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/layer_checks.h"

#include <gtest/gtest.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>

namespace halfback {
namespace {

namespace nn = torch::nn;

nn::Sequential image_module() {
  return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(3, 4, 3).padding(1)),
                        nn::BatchNorm2d(nn::BatchNormOptions(4).momentum(0.2)),
                        nn::ReLU(nn::ReLUOptions(true)), nn::Conv2d(4, 2, 3));
}

// Gives the parameters memory that has the values of the module.
void start(const std::vector<Parameter*>& parameters) {
  for (Parameter* const parameter : parameters) {
    parameter->value = parameter->given.to(at::kFloat).clone();
    parameter->gradient = at::empty_like(parameter->value);
  }
}

std::vector<std::string> names(const Layer& /*layer*/, const std::vector<Parameter*>& parameters) {
  std::vector<std::string> all;
  for (const Parameter* const parameter : parameters) {
    all.push_back(parameter->name);
  }
  return all;
}

TEST(ModuleLayerTest, KnowsParametersAndRunningStatistics) {
  nn::Sequential module = image_module();
  module->parameters().back().set_requires_grad(false);
  const auto layer = module_layer("stem", module);
  EXPECT_EQ(names(*layer, layer->parameters()),
            (std::vector<std::string>{"stem.0.weight", "stem.0.bias", "stem.1.weight",
                                      "stem.1.bias", "stem.3.weight", "stem.1.running_mean",
                                      "stem.1.running_var", "stem.1.num_batches_tracked"}));
}

// Two micro-batches, forward early: the gradients and the statistics of the module by itself.
TEST(ModuleLayerTest, DoesWhatTheModuleDoes) {
  nn::Sequential module = image_module();
  nn::Sequential alone(std::dynamic_pointer_cast<nn::SequentialImpl>(module->clone()));
  const auto layer = module_layer("stem", module);
  start(layer->parameters());
  Random random;
  const at::Tensor inputs[] = {random.normal({2, 3, 5, 5}, at::kFloat),
                               random.normal({2, 3, 5, 5}, at::kFloat) * 3};
  const at::Tensor gradient = random.normal({2, 2, 3, 3}, at::kFloat);
  Saved saved[2];
  for (int i = 0; i < 2; ++i) {
    forward_of(*layer, inputs[i], saved[i]);
  }
  for (int i = 0; i < 2; ++i) {
    input_gradient_of(*layer, gradient, saved[i]);
    weight_gradients_of(*layer, saved[i]);
    alone->forward(inputs[i]).backward(gradient);
  }
  const std::vector<Parameter*> parameters = layer->parameters();
  const auto expected = alone->parameters();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(same_bits(parameters[i]->gradient, expected[i].grad())) << i;
  }
  const auto buffers = alone->buffers();
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    EXPECT_LT(relative_error(parameters[expected.size() + i]->value, buffers[i].to(at::kFloat)),
              1e-6)
        << i;
  }
  alone->eval();
  Saved evaluation;
  const at::Tensor output = forward_of(*layer, inputs[0], evaluation, {.is_training = false});
  EXPECT_LT(relative_error(output, alone->forward(inputs[0])), 1e-5);
}

TEST(ModuleLayerTest, RefusesDropoutInTraining) {
  const auto layer = module_layer("d", nn::Sequential(nn::Linear(3, 3), nn::Dropout(0.5)));
  start(layer->parameters());
  Saved evaluation;
  forward_of(*layer, at::ones({2, 3}), evaluation, {.is_training = false});
  Saved saved;
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] {
                         forward_of(*layer, at::ones({2, 3}), saved);
                       }),
                       "draws from libtorch's global generator"));
}

TEST(ModuleLayerTest, RefusesAnAverageOverCalls) {
  const auto module =
      nn::Sequential(nn::BatchNorm1d(nn::BatchNormOptions(4).momentum(std::nullopt)));
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { module_layer("n", module); }),
                       "give it a momentum"));
}

TEST(ModuleLayerTest, TakesAFunctionOfTheModule) {
  const auto layer = module_layer("m", nn::Linear(3, 2),
                                  [](nn::Linear& module, const Tensors& inputs, const Call&) {
                                    return Tensors{module->forward(inputs[0] + inputs[1])};
                                  });
  start(layer->parameters());
  Saved saved;
  EXPECT_EQ(layer->forward({at::ones({4, 3}), at::ones({3})}, saved, {}).front().sizes(),
            (at::IntArrayRef{4, 2}));
}

}  // namespace
}  // namespace halfback
