// The kernels of the scan and of the convolution, as loops and by ATen's operators, against plain
// loops in double.
#include "halfback/kernels/selective_scan.h"

#include "halfback/kernels/causal_convolution.h"
#include "halfback/kernels/generic_scan.h"
#include "tests/support/layer_checks.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <tuple>
#include <vector>

namespace halfback::kernels {
namespace {

constexpr std::int64_t kSamples = 2;

// Everything that a scan reads, as leaves for autograd too.
struct Inputs {
  at::Tensor input, step, gate, states, rate, skip;

  std::vector<at::Tensor*> all() { return {&input, &step, &gate, &states, &rate, &skip}; }
};

Inputs make_inputs(std::int64_t length, std::int64_t channels, std::int64_t num_states) {
  Random random;
  const auto normal = [&](at::IntArrayRef shape) { return random.normal(shape, at::kDouble); };
  return {.input = normal({kSamples, length, channels}),
          .step = normal({kSamples, length, channels}),
          .gate = normal({kSamples, length, channels}),
          .states = normal({kSamples, length, 2 * num_states}),
          .rate = -random.around_one({channels, num_states}, at::kDouble),
          .skip = normal({channels})};
}

// One step after the other.
at::Tensor plain_scan(const Inputs& a) {
  const std::int64_t num_states = a.rate.size(1);
  const at::Tensor step = at::log1p(at::exp(a.step));
  at::Tensor state = at::zeros({kSamples, a.rate.size(0), num_states}, a.rate.options());
  std::vector<at::Tensor> outputs;
  for (std::int64_t t = 0; t < a.input.size(1); ++t) {
    const at::Tensor into = a.states.select(1, t).narrow(1, 0, num_states).unsqueeze(1);
    const at::Tensor out_of = a.states.select(1, t).narrow(1, num_states, num_states).unsqueeze(1);
    const at::Tensor d = step.select(1, t).unsqueeze(2);
    state = at::exp(d * a.rate) * state + d * a.input.select(1, t).unsqueeze(2) * into;
    outputs.push_back(at::sum(state * out_of, {2}));
  }
  return (at::stack(outputs, 1) + a.skip * a.input) * at::silu(a.gate);
}

struct Outcome {
  at::Tensor gated;
  std::vector<at::Tensor> gradients;  // of input, step, gate, states, rate, skip
};

Outcome expected_of(Inputs inputs, const at::Tensor& gradient) {
  for (at::Tensor* one : inputs.all()) {
    *one = one->clone().set_requires_grad(true);
  }
  const at::Tensor gated = plain_scan(inputs);
  gated.backward(gradient);
  Outcome outcome{.gated = gated.detach(), .gradients = {}};
  for (const at::Tensor* one : inputs.all()) {
    outcome.gradients.push_back(one->grad());
  }
  return outcome;
}

// One way to compute both.
struct Way {
  const char* name;
  decltype(&selective_scan) scan;
  decltype(&selective_scan_backward) scan_backward;
  decltype(&causal_convolution) convolution;
  decltype(&causal_convolution_backward) convolution_backward;
};
constexpr Way kLoops{"loops", selective_scan, selective_scan_backward, causal_convolution,
                     causal_convolution_backward};
constexpr Way kGeneric{"generic", generic::selective_scan, generic::selective_scan_backward,
                       generic::causal_convolution, generic::causal_convolution_backward};

Outcome run_kernels(const Way& way,
                    Inputs inputs,
                    const at::Tensor& gradient,
                    at::ScalarType dtype) {
  for (at::Tensor* one : inputs.all()) {
    *one = one->to(dtype).clone();
  }
  const std::int64_t length = inputs.input.size(1);
  const std::int64_t channels = inputs.input.size(2);
  const std::int64_t num_states = inputs.rate.size(1);
  at::Tensor bounds =
      at::empty({kSamples, scan_bounds(length), num_states, channels}, inputs.rate.options());
  at::Tensor gated = inputs.step.clone();
  const at::Tensor to_state = inputs.states.narrow(2, 0, num_states);
  const at::Tensor from_state = inputs.states.narrow(2, num_states, num_states);
  way.scan(
      {inputs.input, gated, inputs.gate, to_state, from_state, inputs.rate, inputs.skip, bounds});
  at::Tensor again = gradient.to(dtype).clone();
  at::Tensor grad_input = at::empty_like(inputs.input);
  at::Tensor grad_states = at::empty_like(inputs.states);
  at::Tensor grad_parameters = at::empty({num_states + 2, channels}, inputs.rate.options());
  way.scan_backward({inputs.input, inputs.step, inputs.gate, to_state, from_state, inputs.rate,
                     inputs.skip, bounds},
                    {again, grad_input, grad_states, grad_parameters});
  EXPECT_LT(relative_error(again, gated), 1e-6) << "the output made anew";
  EXPECT_LT(relative_error(grad_parameters[num_states + 1], inputs.step.sum({0, 1})), 1e-5);
  return {gated,
          {grad_input, inputs.step, inputs.gate, grad_states,
           grad_parameters.narrow(0, 0, num_states).t(), grad_parameters[num_states]}};
}

// Length, channels, states.
class SelectiveScanTest
    : public testing::TestWithParam<std::tuple<std::int64_t, std::int64_t, std::int64_t>> {};

TEST_P(SelectiveScanTest, EqualsAPlainLoopAndItsAutograd) {
  const auto [length, channels, num_states] = GetParam();
  const Inputs inputs = make_inputs(length, channels, num_states);
  const at::Tensor gradient = Random(kSeed + 1).normal({kSamples, length, channels}, at::kDouble);
  const Outcome expected = expected_of(inputs, gradient);
  for (const Way& way : {kLoops, kGeneric}) {
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      const double tolerance = dtype == at::kDouble ? 1e-12 : 3e-6;
      const Outcome actual = run_kernels(way, inputs, gradient, dtype);
      EXPECT_LT(relative_error(actual.gated, expected.gated.to(dtype)), tolerance)
          << way.name << " in " << dtype;
      for (std::size_t i = 0; i < expected.gradients.size(); ++i) {
        EXPECT_LT(relative_error(actual.gradients[i], expected.gradients[i].to(dtype)), tolerance)
            << way.name << ", gradient " << i << " in " << dtype;
      }
    }
  }
}

// A chunk is 64 steps, a tile 32 channels, a slice 128.
INSTANTIATE_TEST_SUITE_P(Lengths,
                         SelectiveScanTest,
                         testing::Combine(testing::Values(1, 2, 63, 64, 65, 129, 400),
                                          testing::Values(3),
                                          testing::Values(16)));
INSTANTIATE_TEST_SUITE_P(Channels,
                         SelectiveScanTest,
                         testing::Combine(testing::Values(5),
                                          testing::Values(1, 15, 16, 17, 32, 33, 128, 129, 270),
                                          testing::Values(1, 5)));

TEST(ScanStepsTest, TakesStepsOfEverySize) {
  Inputs inputs = make_inputs(8, 1, 1);
  const std::vector<double> sizes{-200.0, -87.0, -20.0, -1.0, 0.0, 20.0, 87.0, 500.0};
  for (std::int64_t t = 0; t < 8; ++t) {
    inputs.step.select(1, t).fill_(sizes[static_cast<std::size_t>(t)]);
  }
  const at::Tensor gradient = at::ones_like(inputs.step);
  const Outcome exact = run_kernels(kLoops, inputs, gradient, at::kDouble);
  for (const Way& way : {kLoops, kGeneric}) {
    const Outcome actual = run_kernels(way, inputs, gradient, at::kFloat);
    EXPECT_LT(relative_error(actual.gated, exact.gated.to(at::kFloat)), 1e-6) << way.name;
    for (std::size_t i = 0; i < exact.gradients.size(); ++i) {
      EXPECT_LT(relative_error(actual.gradients[i], exact.gradients[i].to(at::kFloat)), 1e-5)
          << way.name << ", " << i;
    }
  }
}

TEST(ScanStepsTest, LeavesNoBoundOfASequenceWithinOneChunk) {
  EXPECT_EQ(scan_bounds(1), 0);
  EXPECT_EQ(scan_bounds(64), 0);
  EXPECT_EQ(scan_bounds(65), 1);
  EXPECT_EQ(scan_bounds(128), 1);
  EXPECT_EQ(scan_bounds(129), 2);
}

// Taps, length, channels.
class CausalConvolutionTest
    : public testing::TestWithParam<std::tuple<std::int64_t, std::int64_t, std::int64_t>> {};

TEST_P(CausalConvolutionTest, EqualsAtensConvolution) {
  const auto [taps, length, channels] = GetParam();
  Random random;
  const at::Tensor x = random.normal({kSamples, length, channels}, at::kDouble);
  const at::Tensor weight = random.normal({taps, channels}, at::kDouble);
  const at::Tensor bias = random.normal({channels}, at::kDouble);
  const at::Tensor gradient = random.normal(x.sizes(), at::kDouble);

  std::vector<at::Tensor> leaves;
  for (const at::Tensor& one : {x, weight, bias}) {
    leaves.push_back(one.clone().set_requires_grad(true));
  }
  const at::Tensor padded = at::constant_pad_nd(leaves[0].transpose(1, 2), {taps - 1, 0});
  const at::Tensor sums = at::conv1d(padded, leaves[1].t().unsqueeze(1), leaves[2], /*stride=*/{1},
                                     /*padding=*/at::IntArrayRef{0}, /*dilation=*/{1}, channels);
  const at::Tensor expected = at::silu(sums).transpose(1, 2);
  expected.backward(gradient);

  for (const Way& way : {kLoops, kGeneric}) {
    SCOPED_TRACE(way.name);
    // Rows of another array, as in a block.
    at::Tensor input = at::cat({x, x}, 2).narrow(2, channels, channels);
    at::Tensor output = at::empty(x.sizes(), x.options());
    way.convolution({input, output, weight, bias});
    EXPECT_LT(relative_error(output, expected.detach()), 1e-13);
    output.copy_(gradient);
    at::Tensor grad_parameters = at::empty({taps + 1, channels}, x.options());
    way.convolution_backward({input, output, weight, bias}, grad_parameters);
    EXPECT_LT(relative_error(input, leaves[0].grad()), 1e-13);
    EXPECT_LT(relative_error(grad_parameters.narrow(0, 0, taps), leaves[1].grad()), 1e-13);
    EXPECT_LT(relative_error(grad_parameters[taps], leaves[2].grad()), 1e-13);
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         CausalConvolutionTest,
                         testing::Combine(testing::Values(1, 2, 4, 7),
                                          testing::Values(1, 3, 40),
                                          testing::Values(1, 33, 130)));

}  // namespace
}  // namespace halfback::kernels
