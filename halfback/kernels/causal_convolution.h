// A convolution of each channel over the current and the previous steps, then silu:
// output[t] = silu(bias + sum over k of weight[k] input[t - taps + 1 + k]), 0 before the first
// step.
//
// ATen's threads share samples and channels; sums over samples have one order. Float or double; N
// samples, T steps, E channels. Tensors that are not on the CPU go through generic_scan.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace halfback::kernels {

struct CausalConvolution {
  at::Tensor& input;   // [N, T, E], dense in the last dimension; backward writes its gradient here
  at::Tensor& output;  // [N, T, E], contiguous; backward: in: its gradient; out: that before silu
  const at::Tensor& weight;  // [taps, E], contiguous
  const at::Tensor& bias;    // [E]
};
void causal_convolution(const CausalConvolution& arguments);

// grad_parameters [taps + 1, E]: the gradient of the weight, then of the bias; overwritten.
void causal_convolution_backward(const CausalConvolution& arguments, at::Tensor& grad_parameters);

}  // namespace halfback::kernels
