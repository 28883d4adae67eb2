// The selective scan with a softplus before and a gate after it, and its backward. For each sample
// and channel, with S states h, all elementwise:
//
//   d = softplus(step),  h = exp(d rate) h + d input to_state,  y = <from_state, h> + skip input
//   gated = y silu(gate)
// Source: Gu and Dao, "Mamba", arXiv:2312.00752, algorithm 2, where step, rate, to_state,
// from_state, skip and gate are Delta, A, B, C, D and z.
//
// The states of all steps never exist together: F writes those at the bounds of chunks of steps,
// and I recomputes those between, one tile of channels at a time. ATen's threads share samples and
// channels; sums over those run in fixed blocks, so results do not depend on the number of threads.
// Float or double. Tensors that are not on the CPU go through generic_scan.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace halfback::kernels {

// N samples, T steps, E channels. Dense in the last dimension; a sample begins where the rows of
// the previous one end.
struct SelectiveScan {
  const at::Tensor& input;       // [N, T, E], contiguous
  at::Tensor& step;              // [N, T, E], contiguous; F: out: the gated output
  at::Tensor& gate;              // [N, T, E]
  const at::Tensor& to_state;    // [N, T, S]
  const at::Tensor& from_state;  // [N, T, S], strides as to_state
  const at::Tensor& rate;        // [E, S], below 0
  const at::Tensor& skip;        // [E]
  at::Tensor& bounds;            // [N, scan_bounds(T), S, E]: F writes, I reads
};

// Returns how many states of a sample F leaves for I: the state before each chunk but the first.
std::int64_t scan_bounds(std::int64_t num_steps);

void selective_scan(const SelectiveScan& scan);

// Besides, I overwrites step and gate with their gradients, and reads the same bounds.
struct SelectiveScanBackward {
  at::Tensor& gated;        // [N, T, E], contiguous; in: its gradient; out: the forward's output
  at::Tensor& grad_input;   // [N, T, E], contiguous
  at::Tensor& grad_states;  // [N, T, 2 S], gradients of to_state and from_state side by side
  at::Tensor& grad_parameters;  // [S + 2, E]: rows for rate, skip, and the sum of step's
};
void selective_scan_backward(const SelectiveScan& scan, const SelectiveScanBackward& gradients);

}  // namespace halfback::kernels
