// The inner loops of selective_scan.h and causal_convolution.h: a tile of channels over the steps
// of one sample. The compiler vectorizes this plain C++ over channels for several instruction sets.
//
// This header uses no tensors, so that its source can have its own compiler options. Pointers point
// to the first step and the first channel of the tile. There are S states.
#pragma once

#include <cstdint>

namespace halfback::kernels::rows {

inline constexpr std::int64_t kScanSteps = 64;     // at most, in one call
inline constexpr std::int64_t kScanChannels = 32;  // at most, in one call
inline constexpr std::int64_t kConvolutionChannels = 128;

// What a step of the scan reads. Arrays [S, W] have kScanChannels columns, zero from num_channels.
template <typename Real>
struct ScanRows {
  const Real* input;
  Real* step;  // F: in: before softplus; out: the gated output. I: out: its gradient
  Real* gate;  // I: out: its gradient
  const Real* to_state;
  const Real* from_state;
  const Real* rate;  // [S, W]
  const Real* skip;
  Real* state;                 // [S, W], in: before the first step; F: out: after the last
  std::int64_t row;            // elements from one step to the next of input and step,
  std::int64_t gate_row;       // of gate,
  std::int64_t projected_row;  // of to_state and from_state
  std::int64_t num_steps;
  std::int64_t num_channels;
  std::int64_t num_states;
};
template <typename Real>
void scan(const ScanRows<Real>& rows);

// What the backward writes besides step and gate.
template <typename Real>
struct ScanGradientRows {
  Real* gated;            // in: gradient of the gated output; out: that output; rows as of input
  Real* grad_input;       // rows as of input
  Real* grad_to_state;    // [steps, 2 S], added to, like
  Real* grad_from_state;  // the other half of those rows
  Real* carry;      // [S, W], gradient of the state; in: after the last step; out: before the first
  Real* grad_rate;  // [S, W], added to, like
  Real* grad_skip;  // [W] and
  Real* grad_bias;  // [W], the sum over steps of the gradient of step
};
template <typename Real>
void scan_backward(const ScanRows<Real>& rows, const ScanGradientRows<Real>& gradients);

// output = silu(bias + sum over taps k of weight[k] * input[t - taps + 1 + k]).
template <typename Real>
struct ConvolutionRows {
  const Real* weight;  // [taps, columns of all channels]
  const Real* bias;
  Real* input;   // backward: out: its gradient
  Real* output;  // forward: out; backward: in: its gradient; out: that before silu
  std::int64_t weight_row;
  std::int64_t input_row;
  std::int64_t output_row;
  std::int64_t num_steps;
  std::int64_t num_channels;  // at most kConvolutionChannels
  std::int64_t num_taps;
};
template <typename Real>
void convolution(const ConvolutionRows<Real>& rows);

// Adds to grad_weight and grad_bias, which have rows as of weight.
template <typename Real>
void convolution_backward(const ConvolutionRows<Real>& rows, Real* grad_weight, Real* grad_bias);

}  // namespace halfback::kernels::rows
