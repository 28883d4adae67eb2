#include "halfback/layers/known_autograd.h"

#include "halfback/base/error.h"
#include "halfback/layers/autograd_graph.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/relu.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <utility>

namespace halfback {

namespace {

// Uses affine maps that share a weight, a node that saves its output, and a sum.
void test_halves() {
  const auto numbers = [](double from, double to) {
    return at::linspace(from, to, 9, at::kDouble).view({3, 3}).clone();
  };
  const at::Tensor weight = numbers(-1.0, 1.5).set_requires_grad(true);
  const at::Tensor bias = at::linspace(0.5, 0.1, 3, at::kDouble).set_requires_grad(true);
  const at::Tensor grad_output = numbers(1.0, -2.0);
  const auto module = [&](const at::Tensor& x) {
    return at::linear(at::relu(at::linear(x, weight, bias)), weight) + x;
  };

  const at::Tensor leaf = numbers(-0.7, 0.9).set_requires_grad(true);
  module(leaf).backward(grad_output);
  const Tensors expected = {leaf.grad(), weight.grad(), bias.grad()};
  weight.mutable_grad().reset();
  bias.mutable_grad().reset();

  AutogradGraph graph(GraphLeaves("test", {"weight", "bias"}, {weight, bias}));
  const at::Tensor input = leaf.detach().clone();
  graph.begin({input});
  graph.end({module(input)});
  Tensors found = graph.backward_input({grad_output});
  for (at::Tensor& gradient : graph.backward_weight()) {
    found.push_back(std::move(gradient));
  }
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!found[i].defined() || !found[i].equal(expected[i])) {
      throw Error(fmt::format(
          "autograd: a split backward has other gradients than a whole one with libtorch "
          "{}; expected the same bits; use a libtorch from 2.6 to 2.13",
          TORCH_VERSION));
    }
  }
}

}  // namespace

void require_known_autograd() {
  static const bool is_tested = [] {
    const c10::InferenceMode normal(false);
    test_halves();
    return true;
  }();
  static_cast<void>(is_tested);
}

}  // namespace halfback
