// The functions of selective_scan.h and causal_convolution.h with ATen's operators, for tensors on
// any device, like generic_rows.h.
//
// A scan goes chunk by chunk and keeps the same bounds. Within a chunk, doubling solves the
// recurrence of all steps: after round k, each step includes what the 2^k steps before it add. So a
// chunk takes a few operators on [N, steps, S, E], instead of many small ones.
// Source: Hillis and Steele, "Data Parallel Algorithms", CACM 29(12), 1986.
#pragma once

#include "halfback/kernels/causal_convolution.h"
#include "halfback/kernels/selective_scan.h"

namespace halfback::kernels::generic {

void selective_scan(const SelectiveScan& scan);
void selective_scan_backward(const SelectiveScan& scan, const SelectiveScanBackward& gradients);

void causal_convolution(const CausalConvolution& arguments);
void causal_convolution_backward(const CausalConvolution& arguments, at::Tensor& grad_parameters);

}  // namespace halfback::kernels::generic
