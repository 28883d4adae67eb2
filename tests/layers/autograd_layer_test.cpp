// Modules of libtorch as layers: the bits of autograd, what is kept when, what is refused.
#include "halfback/layers/autograd_layer.h"

#include "halfback/base/error.h"
#include "halfback/engine/memory.h"
#include "halfback/engine/parameter_store.h"
#include "halfback/layers/recomputed.h"
#include "tests/support/errors.h"
#include "tests/support/foreign_modules.h"
#include "tests/support/layer_fixture.h"
#include "tests/support/parameter_numbers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/dropout.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace halfback {
namespace {

using Input = AutogradLayer::Options::Input;
constexpr auto kTogether = AutogradGraph::Halves::Together;
constexpr int kRank = 5;

// A layer of one [C, C] matrix, and of what a test asks for.
using Function = std::function<at::Tensor(const at::Tensor& weight, const at::Tensor& x)>;

constexpr std::int64_t kChannels = 4;

std::unique_ptr<AutogradLayer> layer_of(const Function& function,
                                        const AutogradLayer::Options& options = {}) {
  const ForeignFunction foreign{
      .shapes = {{kChannels, kChannels}},
      .function = [=](const auto& w, const at::Tensor& x) { return function(w[0], x); }};
  auto layer = std::make_unique<AutogradLayer>(make_module("odd", foreign), options);
  Random random;
  give_memory(layer->parameters(), at::kFloat, random);
  return layer;
}

at::Tensor some(at::IntArrayRef shape = {3, kChannels}) {
  return Random().normal(shape, at::kFloat);
}

// Runs F, I and W.
void run(Layer& layer, const at::Tensor& x = some()) { run_layer(layer, x, some()); }

at::Tensor linear(const at::Tensor& weight, const at::Tensor& x) { return at::linear(x, weight); }

std::string refusal(const Function& function, const AutogradLayer::Options& options = {}) {
  const auto layer = layer_of(function, options);
  return text_of_thrown<ConfigError>([&] { run(*layer); });
}

class AutogradBitsTest : public LayerTest {};

TEST_P(AutogradBitsTest, AreThoseOfAutogradOnTheWholeGraph) {
  for (int micro_batch = 0; micro_batch < 2; ++micro_batch) {
    const at::Tensor input = case_.input(dtype_, random_);
    const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
    const Results found = run_layer(*layer_, input, grad_output);
    const Results expected =
        run_autograd(case_.reference, layer_->parameters(), input, grad_output);
    EXPECT_TRUE(same_bits(found.output, expected.output));
    ASSERT_EQ(found.grad_input.defined(), case_.has_input_gradient());
    EXPECT_TRUE(!found.grad_input.defined() || same_bits(found.grad_input, expected.grad_input));
    for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
      EXPECT_TRUE(same_bits(found.grad_parameters[i], expected.grad_parameters[i])) << i;
    }
  }
}

TEST_P(AutogradBitsTest, AreTheSameWhenBothHalvesRunAtOnce) {
  const at::Tensor input = case_.input(dtype_, random_);
  const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
  const Results expected = run_autograd(case_.reference, layer_->parameters(), input, grad_output);
  forget_gradients(layer_->parameters());
  Saved saved;
  forward_of(*layer_, input, saved);
  const Tensors found = layer_->backward({grad_output}, saved, {});
  EXPECT_TRUE(saved.is_empty());
  EXPECT_TRUE(!found[0].defined() || same_bits(found[0], expected.grad_input));
  const std::vector<at::Tensor> gradients = copy_gradients(layer_->parameters());
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_TRUE(same_bits(gradients[i], expected.grad_parameters[i])) << i;
  }
}

TEST_P(AutogradBitsTest, AreTheSameInInferenceMode) {
  const at::Tensor input = case_.input(dtype_, random_);
  const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
  const Results expected = run_layer(*layer_, input, grad_output);
  const c10::InferenceMode no_graph;
  for (Parameter* const parameter : layer_->parameters()) {
    parameter->value = parameter->value.clone();
    parameter->gradient = at::empty_like(parameter->value);
  }
  const Results found = run_layer(*layer_, input.clone(), grad_output.clone());
  EXPECT_TRUE(same_bits(found.output, expected.output));
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_TRUE(same_bits(found.grad_parameters[i], expected.grad_parameters[i])) << i;
  }
  Saved evaluation;
  const at::Tensor output = forward_of(*layer_, input, evaluation, {.is_training = false});
  EXPECT_LT(relative_error(output, expected.output), 1e-6);
  EXPECT_TRUE(evaluation.is_empty());
}

TEST_P(AutogradBitsTest, AreTheSameWhenTheForwardIsRecomputed) {
  const at::Tensor input = case_.input(dtype_, random_);
  const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
  const Results expected = run_layer(*layer_, input, grad_output);
  std::vector<std::unique_ptr<Layer>> inside;
  inside.push_back(std::move(layer_));
  Recomputed recomputed(std::move(inside), {.recomputes_forward = true});
  const Results found = run_layer(recomputed, input, grad_output);
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_TRUE(same_bits(found.grad_parameters[i], expected.grad_parameters[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(All, AutogradBitsTest, in_both_types(foreign_cases()), typed_case_name);

TEST(AutogradLayerTest, KeepsOnlyTheFrontierAfterI) {
  constexpr std::int64_t kRows = 6;
  constexpr std::int64_t kWidth = 8;
  constexpr std::int64_t kHidden = 20;
  const AutogradLayer layer(make_module("block", mlp_block(kWidth, kHidden)));
  const SavedBytes bytes = layer.describe({{kRows, kWidth}}, 4).bytes;
  // F: x, mean and deviation of the norm, its output, gelu's input and output.
  // I: what is left are the inputs of both products; their gradients join, and the norm's own.
  EXPECT_EQ(bytes.until_input, 4 * kRows * (kWidth + 2 + kHidden));
  EXPECT_EQ(bytes.until_weight, 4 * kRows * (kWidth + kHidden));
  EXPECT_EQ(bytes.gradients, 4 * (kRows * (kHidden + kWidth) + 2 * kWidth));
}

// The last node saves the output, and a sum hands its gradient on as it is: neither may be shared.
TEST(AutogradLayerTest, GivesAwayMemoryOfItsOwn) {
  const auto saves_output =
      layer_of([](const at::Tensor& w, const at::Tensor& x) { return at::tanh(at::linear(x, w)); });
  Saved saved;
  EXPECT_EQ(forward_of(*saves_output, some(), saved).storage().use_count(), 1U);
  const auto adds = layer_of([](const at::Tensor& w, const at::Tensor& x) { return x + w; });
  const at::Tensor grad_output = some({kChannels, kChannels});
  forward_of(*adds, some({kChannels, kChannels}), saved);
  const at::Tensor grad_input = input_gradient_of(*adds, grad_output, saved);
  EXPECT_EQ(grad_input.storage().use_count(), 1U);
  EXPECT_TRUE(same_bits(grad_input, grad_output));
}

TEST(AutogradLayerTest, HasTheMemoryOfTheEngine) {
  const ForeignModule module = make_module("m", mlp_block(4, 8));
  const at::Tensor weight = module.parameters[2].tensor;
  const at::Tensor expected = some({8, 4});
  weight.variable_data().copy_(expected);
  AutogradLayer layer(module);
  EXPECT_EQ(layer.parameters()[2]->name, "m.2");
  ParameterStore store(layer.parameters(), {});
  store.initialize(1, testing::numbers_from(0, store));
  EXPECT_TRUE(same_bits(layer.parameters()[2]->value, expected));
  EXPECT_THROW(store.initialize(1, testing::numbers_from(0, store)), std::logic_error);
  Saved saved;
  forward_of(layer, some({2, 4}), saved);
  EXPECT_EQ(weight.const_data_ptr(), layer.parameters()[2]->value.const_data_ptr());
}

// As with versions of the weights: I and W of a micro-batch see the values that its F has seen,
// though the engine has pointed the parameter elsewhere for another F in between.
TEST(AutogradLayerTest, HasTheMemoryOfTheEngineInTheBackwardToo) {
  const Function squared = [](const at::Tensor& w, const at::Tensor& x) {
    return at::linear(at::linear(x, w), w);
  };
  const auto expected = layer_of(squared);
  const at::Tensor x = some();
  const at::Tensor grad_output = some();
  Saved alone;
  forward_of(*expected, x, alone);
  const at::Tensor wanted = input_gradient_of(*expected, grad_output, alone);
  Saved* of_alone[] = {&alone};
  expected->backward_weight(of_alone);

  const auto layer = layer_of(squared);
  Parameter& parameter = *layer->parameters().front();
  const at::Tensor first = parameter.value;
  Saved saved;
  Saved other;
  forward_of(*layer, x, saved);
  parameter.value = at::ones({kChannels, kChannels});
  forward_of(*layer, x, other);
  parameter.value = first;
  EXPECT_TRUE(same_bits(input_gradient_of(*layer, grad_output, saved), wanted));
  parameter.value = at::ones({kChannels, kChannels});
  forward_of(*layer, x, other);
  parameter.value = first;
  Saved* of_saved[] = {&saved};
  layer->backward_weight(of_saved);
  EXPECT_TRUE(same_bits(parameter.gradient, expected->parameters().front()->gradient));
}

TEST(AutogradLayerTest, RefusesTensorsWithoutAGradient) {
  ForeignModule module = make_module("m", mlp_block(4, 8));
  module.parameters[1].tensor.set_requires_grad(false);
  EXPECT_EQ(text_of_thrown<ConfigError>([&] { AutogradLayer layer(module); }),
            "module m: parameter 1 requires no gradient; leave it out, as part of the function");
  module.parameters[1] = module.parameters[0];
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { AutogradLayer layer(module); }),
                       "parameter 0 is there twice"));
}

TEST(AutogradLayerTest, RefusesATensorOfTwoLayers) {
  const ForeignModule module = make_module("m", mlp_block(4, 8));
  AutogradLayer first(module);
  AutogradLayer second(module);
  Random random;
  give_memory(first.parameters(), at::kFloat, random);
  give_memory(second.parameters(), at::kFloat, random);
  Saved saved[3];
  forward_of(first, some(), saved[0]);
  forward_of(second, some(), saved[1]);
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { forward_of(first, some(), saved[2]); }),
                       "m.0 was moved to other memory"));
}

TEST(AutogradLayerTest, RefusesProductsInASmallerType) {
  AutogradLayer layer(make_module("m", mlp_block(4, 8)));
  ParameterStore store(layer.parameters(), {.product_dtype = at::kBFloat16});
  Saved saved;
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { forward_of(layer, some(), saved); }),
                       "use --precision float32"));
}

TEST(AutogradLayerTest, RefusesAnOutputWithoutAWayToTheInput) {
  EXPECT_EQ(
      refusal([](const at::Tensor& w, const at::Tensor& x) { return at::linear(x.detach(), w); }),
      "module odd: no gradient leads from its output to its input; if it is the first of a "
      "model, say that its input is data or ids");
}

TEST(AutogradLayerTest, RefusesAForeignTensorWithAGradient) {
  const at::Tensor other = at::ones({kChannels}).set_requires_grad(true);
  EXPECT_TRUE(contains(
      refusal([=](const at::Tensor& w, const at::Tensor& x) { return at::linear(x, w, other); }),
      "a tensor of shape [4] that requires a gradient and is not among its parameters"));
}

TEST(AutogradLayerTest, RefusesHooks) {
  const auto hook = [](const at::Tensor& gradient) { return gradient * 2; };
  const Function on_activation = [=](const at::Tensor& w, const at::Tensor& x) {
    at::Tensor y = at::linear(x, w);
    y.register_hook(hook);
    return y;
  };
  EXPECT_TRUE(contains(refusal(on_activation),
                       ", which the halves of a backward would not call as a whole backward does"));
  EXPECT_TRUE(contains(refusal([=](const at::Tensor& w, const at::Tensor& x) {
                         w.register_hook(hook);
                         return at::linear(x, w);
                       }),
                       "a hook on parameter odd.0"));
  // A whole backward calls them once.
  const auto whole = layer_of(on_activation, {.halves = kTogether});
  const auto plain = layer_of(linear);
  const Results found = run_layer(*whole, some(), some());
  const Results single = run_layer(*plain, some(), some());
  EXPECT_TRUE(same_bits(found.grad_parameters[0], single.grad_parameters[0] * 2));
}

TEST(AutogradLayerTest, RefusesAModuleThatRemembersMicroBatches) {
  const auto state = std::make_shared<at::Tensor>();
  const auto layer = layer_of([=](const at::Tensor& w, const at::Tensor& x) {
    const at::Tensor y = at::linear(state->defined() ? x + *state : x, w);
    *state = y;
    return y;
  });
  Saved first;
  Saved second;
  forward_of(*layer, some(), first);
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { forward_of(*layer, some(), second); }),
                       "depends on what it kept of an earlier call"));
}

TEST(AutogradLayerTest, RefusesWritingToItsInput) {
  EXPECT_TRUE(contains(refusal([](const at::Tensor& w, const at::Tensor& x) {
                         x.mul_(2);
                         return at::linear(x, w);
                       }),
                       "it writes to its input 0"));
}

TEST(AutogradLayerTest, RefusesToReturnNothing) {
  AutogradLayer layer(
      {.name = "none", .forward = [](const Tensors&, const Call&) { return Tensors{}; }});
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { run(layer); }),
                       "module none: it returns nothing; return at least one tensor"));
}

TEST(AutogradLayerTest, RefusesTheGlobalGenerator) {
  const auto layer = layer_of([](const at::Tensor& w, const at::Tensor& x) {
    return at::dropout(at::linear(x, w), 0.5, /*train=*/true);
  });
  for (int attempt = 0; attempt < 2; ++attempt) {
    EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { run(*layer); }),
                         "draws from libtorch's global generator"));
  }
}

// y = x w^T and its gradients, by the user.
struct UsersLinear : torch::autograd::Function<UsersLinear> {
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            const at::Tensor& x,
                            const at::Tensor& w) {
    context->save_for_backward({x, w});
    return at::linear(x, w);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto saved = context->get_saved_variables();
    return {gradients[0].mm(saved[1]), gradients[0].t().mm(saved[0])};
  }
};

TEST(AutogradLayerTest, RunsCustomFunctionsTogetherOnly) {
  const Function function = [](const at::Tensor& w, const at::Tensor& x) {
    return UsersLinear::apply(x, w);
  };
  const std::string text = refusal(function);
  EXPECT_TRUE(contains(text, "UsersLinear")) << text;
  EXPECT_TRUE(contains(text, "compute its halves together")) << text;
  const auto whole = layer_of(function, {.halves = kTogether});
  const auto plain = layer_of(linear);
  const Results found = run_layer(*whole, some(), some());
  const Results expected = run_layer(*plain, some(), some());
  EXPECT_TRUE(same_bits(found.grad_input, expected.grad_input));
  EXPECT_TRUE(same_bits(found.grad_parameters[0], expected.grad_parameters[0]));
}

// A checkpoint by hand: its backward runs another backward, which adds to gradients by itself.
struct UsersCheckpoint : torch::autograd::Function<UsersCheckpoint> {
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            const at::Tensor& x,
                            const std::vector<at::Tensor>& weights) {
    context->save_for_backward({x});
    context->saved_data["weights"] = weights;
    return at::linear(x, weights[0]);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const at::AutoGradMode with_graph(true);
    const at::Tensor x = context->get_saved_variables()[0].detach().set_requires_grad(true);
    at::linear(x, context->saved_data["weights"].toTensorVector()[0]).backward(gradients[0]);
    return {x.grad(), at::Tensor()};
  }
};

TEST(AutogradLayerTest, RefusesABackwardInsideTheBackward) {
  const Function function = [](const at::Tensor& w, const at::Tensor& x) {
    return UsersCheckpoint::apply(x, std::vector{w});
  };
  for (const auto halves : {AutogradGraph::Halves::Split, kTogether}) {
    EXPECT_TRUE(contains(refusal(function, {.halves = halves}),
                         "its backward wrote the gradient of odd.0 by itself"));
  }
}

TEST(AutogradLayerTest, RefusesRecomputingGradientsAlone) {
  std::vector<std::unique_ptr<Layer>> inside;
  inside.push_back(layer_of(linear));
  Recomputed layer(std::move(inside), {.recomputes_gradients = true});
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { run(layer); }), "recompute both"));
}

// What a module may do with keys: the same mask whenever F runs for a micro-batch.
TEST(AutogradLayerTest, TellsTheFunctionTheMicroBatch) {
  ForeignModule module = make_module("m", {.shapes = {{4, 4}}, .function = {}});
  const at::Tensor weight = module.parameters[0].tensor;
  module.forward = [weight](const Tensors& inputs, const Call& call) {
    at::Tensor y = at::linear(inputs[0], weight);
    if (call.is_training) {
      const auto generator = at::make_generator<at::CPUGeneratorImpl>(call.key);
      y = y * at::empty_like(y).bernoulli_(0.5, generator);
    }
    return Tensors{y};
  };
  AutogradLayer layer(module);
  Random random;
  give_memory(layer.parameters(), at::kFloat, random);
  const auto output = [&](const Call& call) {
    Saved saved;
    return forward_of(layer, some(), saved, call);
  };
  EXPECT_TRUE(same_bits(output({.key = 1}), output({.key = 1})));
  EXPECT_FALSE(same_bits(output({.key = 1}), output({.key = 2})));
  EXPECT_FALSE((output({.is_training = false}) == 0).any().item<bool>());
}

TEST(AutogradLayerTest, TakesSideInputs) {
  ForeignModule module = make_module("m", {.shapes = {{4, 4}}, .function = {}});
  const at::Tensor weight = module.parameters[0].tensor;
  module.forward = [weight](const Tensors& inputs, const Call&) {
    return Tensors{at::linear(inputs[0], weight) * inputs[1], inputs[1], inputs[1] + 1};
  };
  AutogradLayer layer(module, {.side_inputs = [](at::IntArrayRef) {
                        return Tensors{at::ones({3, 4})};
                      }});
  Random random;
  give_memory(layer.parameters(), at::kFloat, random);
  // The mask is kept by the micro-batch, not by the layer; so are x for W and the gradient of y.
  const SavedBytes bytes = layer.describe({{3, 4}}, 4).bytes;
  EXPECT_EQ(bytes, (SavedBytes{.until_input = 0, .until_weight = 48, .gradients = 48}));
  Saved saved;
  const Tensors outputs = layer.forward({some(), at::ones({3, 4})}, saved, {});
  ASSERT_EQ(outputs.size(), 3U);
  EXPECT_TRUE(same_bits(outputs[2], at::ones({3, 4}) * 2));
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] {
                         layer.backward_input({some(), at::ones({3, 4}), {}}, saved, {});
                       }),
                       "a side input has a gradient"));
  const Tensors gradients = layer.backward_input({some(), {}, {}}, saved, {});
  EXPECT_TRUE(gradients[0].defined());
  EXPECT_FALSE(gradients[1].defined());
  weight_gradients_of(layer, saved);
  EXPECT_TRUE(saved.is_empty());
}

TEST(AutogradLayerTest, RefusesASecondOutputWithAGradient) {
  ForeignModule module = make_module("m", {.shapes = {{4, 4}}, .function = {}});
  const at::Tensor weight = module.parameters[0].tensor;
  module.forward = [weight](const Tensors& inputs, const Call&) {
    const at::Tensor y = at::linear(inputs[0], weight);
    return Tensors{y, y * 2};
  };
  AutogradLayer layer(module);
  Saved saved;
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { forward_of(layer, some(), saved); }),
                       "output 1 has a gradient"));
}

// (x, s, ids, mask) -> (s x, w x + s, ids): x and s have gradients; the mask is the stage's own.
TEST(AutogradLayerTest, GivesAllFloatingTensorsTheirGradients) {
  ForeignModule module = make_module("m", {.shapes = {{4, 4}}, .function = {}});
  const at::Tensor weight = module.parameters[0].tensor;
  const auto function = [](const Tensors& inputs, const at::Tensor& w) {
    return Tensors{inputs[1] * inputs[0] * inputs[3], at::linear(inputs[0], w) + inputs[1]};
  };
  module.forward = [&](const Tensors& inputs, const Call&) {
    Tensors outputs = function(inputs, weight);
    outputs.push_back(inputs[2]);
    return outputs;
  };
  AutogradLayer layer(module, {.gradients = AutogradLayer::Options::Gradients::Floating});
  Random random;
  give_memory(layer.parameters(), at::kFloat, random);
  const at::Tensor ids = at::ones({3}, at::kLong);
  const at::Tensor mask = some();
  Tensors leaves = {some().requires_grad_(), (some() + 1).requires_grad_(), ids, mask};
  const at::Tensor w = layer.parameters()[0]->value.clone().requires_grad_();
  const Tensors expected = function(leaves, w);
  const at::Tensor arriving = some() * 3;
  for (const bool has_both : {true, false}) {  // the second output may have no gradient
    at::Tensor sum = (expected[0] * arriving).sum();
    if (has_both) {
      sum = sum + (expected[1] * arriving).sum();
    }
    leaves[0].mutable_grad().reset();
    leaves[1].mutable_grad().reset();
    sum.backward({}, /*retain_graph=*/true);
    Saved saved;
    Tensors inputs;
    for (const at::Tensor& leaf : leaves) {
      inputs.push_back(leaf.detach().clone());
    }
    const Tensors outputs = layer.forward(inputs, saved, {.num_stage_inputs = 1});
    ASSERT_EQ(outputs.size(), 3U);
    EXPECT_TRUE(same_bits(outputs[0], expected[0].detach()));
    EXPECT_TRUE(same_bits(outputs[1], expected[1].detach()));
    EXPECT_TRUE(outputs[2].equal(ids));
    const Tensors gradients =
        layer.backward_input({arriving, has_both ? arriving : at::Tensor(), {}}, saved, {});
    ASSERT_EQ(gradients.size(), 3U);
    EXPECT_TRUE(same_bits(gradients[0], leaves[0].grad()));
    EXPECT_TRUE(same_bits(gradients[1], leaves[1].grad()));
    EXPECT_FALSE(gradients[2].defined());
    weight_gradients_of(layer, saved);
    EXPECT_TRUE(saved.is_empty());
  }
  EXPECT_TRUE(same_bits(layer.parameters()[0]->gradient, w.grad()));
}

// The second input is passed on and becomes the first: it has no memory in common with its input.
TEST(AutogradLayerTest, PassesFloatingTensorsOn) {
  ForeignModule module = make_module("m", {.shapes = {{4, 4}}, .function = {}});
  const at::Tensor weight = module.parameters[0].tensor;
  module.forward = [weight](const Tensors& inputs, const Call&) {
    return Tensors{inputs[1], at::linear(inputs[0], weight)};
  };
  AutogradLayer layer(module, {.gradients = AutogradLayer::Options::Gradients::Floating});
  Random random;
  give_memory(layer.parameters(), at::kFloat, random);
  const Described described = layer.describe({{3, 4}, {2, 4}}, 4);
  EXPECT_EQ(described.shapes, (std::vector<Shape>{{2, 4}, {3, 4}}));
  EXPECT_EQ(described.bytes, (SavedBytes{.until_input = 0, .until_weight = 48, .gradients = 48}));
  Saved saved;
  const at::Tensor second = some({2, 4});
  const Tensors outputs = layer.forward({some(), second}, saved, {});
  EXPECT_TRUE(same_bits(outputs[0], second));
  EXPECT_NE(outputs[0].const_data_ptr(), second.const_data_ptr());
  const at::Tensor arriving = some({2, 4}) * 2;
  const Tensors gradients = layer.backward_input({arriving, some()}, saved, {});
  EXPECT_TRUE(same_bits(gradients[1], arriving));
  weight_gradients_of(layer, saved);
}

// r = 0.9 r + 0.1 mean(x), moved by W in its order.
TEST(AutogradLayerTest, MovesRunningStatisticsInW) {
  ForeignModule module = make_module("m", {.shapes = {{4, 4}}, .function = {}});
  const at::Tensor weight = module.parameters[0].tensor;
  at::Tensor mean = at::ones({4});
  module.statistics = {{"mean", mean, 0.9}};
  module.forward = [=](const Tensors& inputs, const Call& call) mutable {
    if (call.is_training) {
      mean.mul_(0.9).add_(inputs[0].detach().mean(0), 0.1);
    }
    return Tensors{at::linear(inputs[0] - (call.is_training ? inputs[0].mean(0) : mean), weight)};
  };
  AutogradLayer layer(module);
  ParameterStore store(layer.parameters(), {});
  store.initialize(1, testing::numbers_from(0, store));
  const at::Tensor& running = layer.parameters()[1]->value;
  at::Tensor expected = at::ones({4});
  std::vector<at::Tensor> inputs = {some() * 1, some() * 5, some() * -3};
  Saved saved[3];
  for (const int i : {1, 0, 2, 2}) {  // early, and one twice
    saved[i] = {};
    forward_of(layer, inputs[static_cast<std::size_t>(i)], saved[i]);
  }
  EXPECT_TRUE(same_bits(running, at::ones({4})));
  for (int i = 0; i < 3; ++i) {
    input_gradient_of(layer, some(), saved[i]);
    weight_gradients_of(layer, saved[i]);
    expected.mul_(0.9).add_(at::zeros({4}).add_(inputs[static_cast<std::size_t>(i)].mean(0), 0.1));
  }
  EXPECT_TRUE(same_bits(running, expected));
  Saved evaluation;
  forward_of(layer, some(), evaluation, {.is_training = false});
  EXPECT_TRUE(same_bits(mean, expected));
}

TEST(AutogradLayerTest, RefusesABufferThatChanges) {
  ForeignModule module = make_module("m", {.shapes = {{4, 4}}, .function = {}});
  const at::Tensor weight = module.parameters[0].tensor;
  at::Tensor count = at::zeros({});
  module.buffers = {{"count", count}};
  module.forward = [=](const Tensors& inputs, const Call&) mutable {
    count.add_(1);
    return Tensors{at::linear(inputs[0], weight)};
  };
  AutogradLayer layer(module);
  Saved saved;
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { forward_of(layer, some(), saved); }),
                       "its buffer count changes in training"));
}

}  // namespace
}  // namespace halfback
