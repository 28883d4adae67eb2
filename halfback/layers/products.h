// The three matrix products of a linear map y = x W^T, shared by every layer that has one.
// x is [M, in], W [out, in], gradients likewise.
//
// If the weight has a rounded value (mixed precision), products round the other operand and widen
// the result: activations and gradients keep the type of the values.
#pragma once

#include "halfback/layers/layer.h"

#include <span>

namespace halfback {

// Returns the tensor as rows [M, last size]: a view, because the tensor is contiguous.
at::Tensor as_rows(const at::Tensor& tensor);

// Returns x W^T, plus `added` (a bias, or a tensor of the result's shape) if it is defined.
at::Tensor product(const at::Tensor& x, const Parameter& weight, const at::Tensor& added = {});

// Returns g W.
at::Tensor product_backward_input(const at::Tensor& gradient, const Parameter& weight);

// weight.gradient += g^T x. The first one of a step overwrites, so nothing needs to be zeroed.
void product_backward_weight(const at::Tensor& gradient, const at::Tensor& x, Parameter& weight);

// The same for y = x W^T + b; a bias without a value means no bias.
void affine_backward_weight(const at::Tensor& gradient,
                            const at::Tensor& x,
                            Parameter& weight,
                            Parameter& bias);

// Prepares the gradient for adding: zeroes it if this is a step's first accumulation.
void start_gradient(Parameter& parameter);

// parameter.gradient += g, for a gradient that I has already reduced to the parameter's shape.
void accumulate(const at::Tensor& gradient, Parameter& parameter);

// Concatenates slot `slot` of until_weight of all micro-batches, and drops those tensors. They may
// differ only in the first dimension. A single micro-batch is not copied.
at::Tensor take(std::span<Saved*> saved, std::size_t slot);

// The same for tensors as rows, which may differ in all dimensions but the last.
at::Tensor take_rows(std::span<Saved*> saved, std::size_t slot);

}  // namespace halfback
