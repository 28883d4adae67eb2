// The three matrix products of a linear map y = x W^T, shared by every layer that has one.
// x is [M, in], W [out, in], gradients likewise.
//
// Where the weight has a rounded value (mixed precision), the other operand is rounded for the
// product and the result is widened: activations and gradients keep the type of the values.
#pragma once

#include "halfback/layers/layer.h"

#include <span>

namespace halfback {

// Returns the tensor seen as rows: [M, last size]. No copy; the tensor is contiguous.
at::Tensor as_rows(const at::Tensor& tensor);

// Returns x W^T, plus `added` (a bias, or of the shape of the result) when it is defined.
at::Tensor product(const at::Tensor& x, const Parameter& weight, const at::Tensor& added = {});

// Returns g W.
at::Tensor product_backward_input(const at::Tensor& gradient, const Parameter& weight);

// weight.gradient += g^T x. The first of a step overwrites, so nothing needs to be zeroed.
void product_backward_weight(const at::Tensor& gradient, const at::Tensor& x, Parameter& weight);

// The same for y = x W^T + b; a bias without a value means no bias.
void affine_backward_weight(const at::Tensor& gradient,
                            const at::Tensor& x,
                            Parameter& weight,
                            Parameter& bias);

// Makes the gradient something to add to: zero, when this is the first accumulation of a step.
void start_gradient(Parameter& parameter);

// parameter.gradient += g, for a gradient that I has already reduced to the parameter's shape.
void accumulate(const at::Tensor& gradient, Parameter& parameter);

// Returns one tensor out of slot `slot` of until_weight of every micro-batch, which differ in the
// first dimension at most, and drops those. One micro-batch alone is not copied.
at::Tensor take(std::span<Saved*> saved, std::size_t slot);

// The same of what is seen as rows, which may differ in all dimensions but the last.
at::Tensor take_rows(std::span<Saved*> saved, std::size_t slot);

}  // namespace halfback
