#include "halfback/kernels/causal_convolution.h"

#include "halfback/kernels/generic_scan.h"
#include "halfback/kernels/row_loops.h"
#include "halfback/kernels/scan_loops.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

namespace halfback::kernels {

namespace {

using rows::kConvolutionChannels;

// Calls function(sample, rows) for each sample and each slice of its channels.
template <typename Real, typename Function>
void for_each_slice(const CausalConvolution& a, Function function) {
  const std::int64_t num_steps = a.output.size(1);
  const std::int64_t num_channels = a.output.size(2);
  const std::int64_t num_slices = (num_channels + kConvolutionChannels - 1) / kConvolutionChannels;
  const std::int64_t input_row = a.input.stride(1);
  const auto* weight = a.weight.const_data_ptr<Real>();
  const auto* bias = a.bias.const_data_ptr<Real>();
  auto* input = a.input.mutable_data_ptr<Real>();
  auto* output = a.output.mutable_data_ptr<Real>();
  at::parallel_for(0, a.output.size(0) * num_slices, 1, [&](auto begin, auto end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t row = task / num_slices * num_steps;
      const std::int64_t first = task % num_slices * kConvolutionChannels;
      function(task / num_slices, first,
               rows::ConvolutionRows<Real>{
                   .weight = weight + first,
                   .bias = bias + first,
                   .input = input + row * input_row + first,
                   .output = output + row * num_channels + first,
                   .weight_row = num_channels,
                   .input_row = input_row,
                   .output_row = num_channels,
                   .num_steps = num_steps,
                   .num_channels = std::min(kConvolutionChannels, num_channels - first),
                   .num_taps = a.weight.size(0)});
    }
  });
}

}  // namespace

void causal_convolution(const CausalConvolution& a) {
  if (!a.output.is_cpu()) {
    return generic::causal_convolution(a);
  }
  AT_DISPATCH_FLOATING_TYPES(a.output.scalar_type(), "causal_convolution", [&] {
    for_each_slice<scalar_t>(a, [](auto, auto, const auto& slice) { rows::convolution(slice); });
  });
}

void causal_convolution_backward(const CausalConvolution& a, at::Tensor& grad_parameters) {
  if (!a.output.is_cpu()) {
    return generic::causal_convolution_backward(a, grad_parameters);
  }
  const std::int64_t num_samples = a.output.size(0);
  const std::int64_t count = grad_parameters.numel();
  const std::int64_t weights = a.weight.numel();
  AT_DISPATCH_FLOATING_TYPES(a.output.scalar_type(), "causal_convolution_backward", [&] {
    std::vector<scalar_t> partial(static_cast<std::size_t>(num_samples * count));
    for_each_slice<scalar_t>(a, [&](auto sample, auto first, const auto& slice) {
      scalar_t* const sums = partial.data() + sample * count + first;
      rows::convolution_backward(slice, sums, sums + weights);
    });
    auto* const sums = grad_parameters.mutable_data_ptr<scalar_t>();
    std::copy_n(partial.data(), count, sums);
    for (std::int64_t sample = 1; sample < num_samples; ++sample) {
      rows::add(partial.data() + sample * count, sums, count);
    }
  });
}

}  // namespace halfback::kernels
