#include "halfback/layers/autograd_graph.h"

#include "halfback/base/error.h"
#include "tests/support/layer_checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/chunk.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <functional>
#include <string>
#include <vector>

namespace halfback {
namespace {

using Halves = AutogradGraph::Halves;
using Function = std::function<Tensors(const Tensors& weights, const Tensors& inputs)>;

constexpr std::int64_t kWidth = 4;

Tensors tensors(Random& random, std::size_t count, at::IntArrayRef shape) {
  Tensors made;
  for (std::size_t i = 0; i < count; ++i) {
    made.push_back(random.normal(shape, at::kFloat));
  }
  return made;
}

// The weights: two matrices, and a vector that I makes the gradient of.
Tensors weights() {
  Random random;
  Tensors made = tensors(random, 2, {kWidth, kWidth});
  made.push_back(random.normal({kWidth}, at::kFloat));
  for (at::Tensor& weight : made) {
    weight.set_requires_grad(true);
  }
  return made;
}

struct Gradients {
  Tensors inputs;
  Tensors weights;
};

// By torch's own backward of everything.
Gradients whole(const Function& function, const Tensors& inputs, const Tensors& grad_outputs) {
  const Tensors own = weights();
  Tensors leaves;
  for (const at::Tensor& input : inputs) {
    leaves.push_back(input.detach().clone().set_requires_grad(true));
  }
  Tensors roots;
  Tensors arriving;
  const Tensors outputs = function(own, leaves);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].requires_grad() && grad_outputs[i].defined()) {
      roots.push_back(outputs[i]);
      arriving.push_back(grad_outputs[i]);
    }
  }
  torch::autograd::backward(roots, arriving);
  Gradients found;
  for (const at::Tensor& leaf : leaves) {
    found.inputs.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
  }
  for (const at::Tensor& weight : own) {
    found.weights.push_back(weight.grad());
  }
  return found;
}

Gradients in_halves(const Function& function,
                    const Tensors& inputs,
                    const Tensors& grad_outputs,
                    Halves halves) {
  const Tensors own = weights();
  AutogradGraph graph(GraphLeaves("test", {"first", "second", "vector"}, own));
  Tensors entering;
  for (const at::Tensor& input : inputs) {
    entering.push_back(input.detach().clone());
  }
  graph.begin(entering);
  graph.end(function(own, entering), halves);
  Gradients found{.inputs = graph.backward_input(grad_outputs)};
  found.weights = graph.backward_weight();
  for (const at::Tensor& weight : own) {
    EXPECT_FALSE(weight.grad().defined());
  }
  return found;
}

void expect_same(const Tensors& found, const Tensors& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].defined(), expected[i].defined()) << i;
    EXPECT_TRUE(!found[i].defined() || found[i].equal(expected[i])) << i;
  }
}

struct Case {
  std::string name;
  std::size_t num_inputs = 2;
  std::size_t num_outputs = 2;
  Function function = {};
  std::vector<std::size_t> without_gradient = {};  // outputs that nothing takes
};

std::vector<Case> cases() {
  return {
      {.name = "a residual stream and its update",
       .function =
           [](const Tensors& w, const Tensors& x) {
             const at::Tensor update = at::gelu(at::linear(x[0], w[0], w[2]));
             return Tensors{x[1] + update, at::linear(update, w[1])};
           }},
      {.name = "an encoder's states pass by a decoder",
       .function =
           [](const Tensors& w, const Tensors& x) {
             return Tensors{at::linear(x[0], w[0]) * at::linear(x[1], w[1]), x[1]};
           }},
      {.name = "an output of parameters only",
       .function =
           [](const Tensors& w, const Tensors& x) {
             return Tensors{at::linear(x[0] + x[1], w[0], w[2]), at::gelu(w[1]) * w[2]};
           }},
      {.name = "a parameter itself is an output",
       .function =
           [](const Tensors& w, const Tensors& x) {
             return Tensors{at::linear(x[0], w[0]) + x[1], w[1]};
           }},
      {.name = "an input that nothing depends on",
       .function =
           [](const Tensors& w, const Tensors& x) {
             return Tensors{at::linear(x[0], w[0]), x[0] * 2};
           }},
      {.name = "one tensor is two outputs",
       .function =
           [](const Tensors& w, const Tensors& x) {
             const at::Tensor y = at::linear(x[0] * x[1], w[0]);
             return Tensors{y, y};
           }},
      {.name = "two outputs of one operator, one of them without a gradient",
       .num_outputs = 3,
       .function =
           [](const Tensors& w, const Tensors& x) {
             const auto parts = at::linear(x[0] + x[1], w[0]).chunk(2, 1);
             return Tensors{parts[0], parts[1], at::linear(x[0], w[1], w[2])};
           },
       .without_gradient = {1}},
      {.name = "an output is made of another",
       .function =
           [](const Tensors& w, const Tensors& x) {
             const at::Tensor y = at::layer_norm(at::linear(x[0], w[0]), {kWidth}, w[2]);
             return Tensors{y, at::linear(y + x[1], w[1])};
           }},
  };
}

TEST(AutogradGraphTest, SeveralInputsAndOutputsHaveTheGradientsOfAWholeBackward) {
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    Random random;
    const Tensors inputs = tensors(random, one.num_inputs, {kWidth, kWidth});
    const Tensors outputs = one.function(weights(), inputs);
    Tensors grad_outputs;
    for (const at::Tensor& output : outputs) {
      grad_outputs.push_back(random.normal(output.sizes(), at::kFloat));
    }
    for (const std::size_t i : one.without_gradient) {
      grad_outputs[i] = at::Tensor();
    }
    const Gradients expected = whole(one.function, inputs, grad_outputs);
    for (const Halves halves : {Halves::Split, Halves::Together}) {
      const Gradients found = in_halves(one.function, inputs, grad_outputs, halves);
      expect_same(found.inputs, expected.inputs);
      expect_same(found.weights, expected.weights);
    }
  }
}

TEST(AutogradGraphTest, WithoutInputsWMakesAllGradients) {
  Random random;
  const Tensors data = tensors(random, 1, {kWidth, kWidth});
  const Function function = [&](const Tensors& w, const Tensors& /*inputs*/) {
    const at::Tensor y = at::linear(data[0], w[0], w[2]);
    return Tensors{y, at::linear(y, w[1])};
  };
  const Tensors grad_outputs = tensors(random, 2, {kWidth, kWidth});
  const Gradients expected = whole(function, {}, grad_outputs);
  const Gradients found = in_halves(function, {}, grad_outputs, Halves::Split);
  EXPECT_TRUE(found.inputs.empty());
  expect_same(found.weights, expected.weights);
}

// Whoever accumulates in .grad, as PyTorch's stages do, has one from the micro-batch before.
TEST(AutogradGraphTest, LeavesGradientsFromBeforeAlone) {
  const Tensors own = weights();
  const GraphLeaves leaves("test", {"first", "second", "vector"}, own);
  own[0].mutable_grad() = at::ones_like(own[0]);
  Random random;
  AutogradGraph graph(leaves);
  at::Tensor input = random.normal({kWidth, kWidth}, at::kFloat);
  graph.begin({input});
  graph.end({at::linear(input, own[0])});
  graph.backward_input({random.normal({kWidth, kWidth}, at::kFloat)});
  EXPECT_TRUE(graph.backward_weight()[0].defined());
  EXPECT_TRUE(own[0].grad().equal(at::ones_like(own[0])));
}

}  // namespace
}  // namespace halfback
