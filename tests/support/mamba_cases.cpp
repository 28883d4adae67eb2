// Mamba blocks for the tests of all layers, with the block as a plain loop over steps.
#include "halfback/layers/mamba_block.h"
#include "tests/support/layer_cases.h"
#include "tests/support/layer_references.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

constexpr double kEpsilon = 0.02;  // large, so that one left out is seen

// The parameters of a block in its order.
enum { kNorm, kIn, kTaps, kTapsBias, kProject, kStep, kStepBias, kLogRate, kSkip, kOut };

// u is [N, T, E], taps [E, 1, K].
at::Tensor convolution_reference(const Values& values, const at::Tensor& u) {
  const std::int64_t num_taps = values[kTaps].size(2);
  const std::int64_t length = u.size(1);
  at::Tensor sum = values[kTapsBias].expand(u.sizes());
  const at::Tensor padded = at::constant_pad_nd(u, {0, 0, num_taps - 1, 0});
  for (std::int64_t k = 0; k < num_taps; ++k) {
    sum = sum + padded.narrow(1, k, length) * values[kTaps].select(2, k).squeeze(1);
  }
  return at::silu(sum);
}

// c, step are [N, T, E]; into, out_of [N, T, S].
struct ScanInputs {
  at::Tensor c;
  at::Tensor step;
  at::Tensor into;
  at::Tensor out_of;
};
at::Tensor scan_reference(const Values& values, const ScanInputs& inputs) {
  const at::Tensor rate = -at::exp(values[kLogRate]);
  at::Tensor state = at::zeros({inputs.c.size(0), rate.size(0), rate.size(1)}, rate.options());
  std::vector<at::Tensor> outputs;
  for (std::int64_t t = 0; t < inputs.c.size(1); ++t) {
    const at::Tensor step = inputs.step.select(1, t).unsqueeze(2);
    const at::Tensor c = inputs.c.select(1, t).unsqueeze(2);
    state = at::exp(step * rate) * state + step * c * inputs.into.select(1, t).unsqueeze(1);
    outputs.push_back(at::sum(state * inputs.out_of.select(1, t).unsqueeze(1), {2}));
  }
  return at::stack(outputs, 1) + values[kSkip] * inputs.c;
}

at::Tensor block_reference(const Values& values, const at::Tensor& x) {
  const at::Tensor normed = norm_reference(x, values[kNorm], kEpsilon);
  const std::vector<at::Tensor> halves = at::matmul(normed, values[kIn].t()).chunk(2, -1);
  const at::Tensor c = convolution_reference(values, halves[0]);
  const std::int64_t rank = values[kStep].size(1);
  const std::int64_t states = values[kLogRate].size(1);
  const std::vector<at::Tensor> projected =
      at::matmul(c, values[kProject].t()).split_with_sizes({rank, states, states}, -1);
  const at::Tensor raw = at::matmul(projected[0], values[kStep].t()) + values[kStepBias];
  const at::Tensor step = at::log1p(at::exp(raw));
  const at::Tensor y = scan_reference(values, {c, step, projected[1], projected[2]});
  return x + at::matmul(y * at::silu(halves[1]), values[kOut].t());
}

}  // namespace

// In double whatever the layer's type, so that the differences are the layer's.
at::Tensor mamba_reference(const Values& values, const at::Tensor& x) {
  Values exact;
  std::transform(values.begin(), values.end(), std::back_inserter(exact),
                 [](const at::Tensor& value) { return value.to(at::kDouble); });
  return block_reference(exact, x.to(at::kDouble)).to(x.scalar_type());
}

LayerCase mamba_case(const MambaShape& shape) {
  return {.name = "Mamba" + std::to_string(shape.num_samples) + "x" + std::to_string(shape.length) +
                  "x" + std::to_string(shape.num_channels) + "Inner" +
                  std::to_string(shape.inner_channels) + "States" +
                  std::to_string(shape.state_size) + "Taps" + std::to_string(shape.num_taps) +
                  "Rank" + std::to_string(shape.step_rank),
          .input_shape = {shape.num_samples, shape.length, shape.num_channels},
          .make =
              [=](at::ScalarType) {
                return std::make_unique<MambaBlock>(
                    "layer", MambaBlock::Options{.num_channels = shape.num_channels,
                                                 .inner_channels = shape.inner_channels,
                                                 .state_size = shape.state_size,
                                                 .num_taps = shape.num_taps,
                                                 .step_rank = shape.step_rank,
                                                 .epsilon = kEpsilon});
              },
          .reference = mamba_reference};
}

std::vector<LayerCase> mamba_cases() {
  return {
      mamba_case({2, 5, 6, 12, 4, 4, 2}),  // samples, length, channels, inner, states, taps, rank
      mamba_case({1, 1, 1, 1, 1, 1, 1}),   mamba_case({2, 3, 2, 5, 3, 2, 1}),
      mamba_case({1, 2, 4, 17, 2, 4, 3}),  mamba_case({2, 65, 4, 9, 3, 3, 2}),
      mamba_case({1, 4, 3, 35, 16, 4, 1}),
  };
}

}  // namespace halfback
