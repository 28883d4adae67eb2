// The functions of images.h with ATen's operators, for tensors on any device, like generic_rows.h.
// Masks and places equal those of the loops to the bit.
#pragma once

#include "halfback/kernels/images.h"

namespace halfback::kernels::generic {

void channel_statistics(const at::Tensor& input, at::Tensor& mean, at::Tensor& variance);
void batch_norm(const BatchNormTerms& terms, const at::Tensor& input, at::Tensor& output);
void batch_norm_backward(const BatchNormTerms& terms, const BatchNormBackward& arguments);

void relu(const at::Tensor& input, const at::Tensor& added, at::Tensor& output, at::Tensor& mask);
void relu_backward(const at::Tensor& grad_output, const at::Tensor& mask, at::Tensor& grad_input);

void max_pool(const PoolWindow& window,
              const at::Tensor& input,
              at::Tensor& output,
              at::Tensor& places);
void max_pool_backward(const PoolWindow& window,
                       const at::Tensor& grad_output,
                       const at::Tensor& places,
                       at::Tensor& grad_input);

void mean_of_pixels(const at::Tensor& input, at::Tensor& output);

}  // namespace halfback::kernels::generic
