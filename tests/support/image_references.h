// The mathematics of the layers for images, written plainly with ATen operators, so that autograd
// differentiates it: a convolution is a product of unfolded windows, a batch norm its formula.
#pragma once

#include "halfback/kernels/images.h"
#include "tests/support/layer_references.h"

namespace halfback {

// Values: weight [O, C, window...] and maybe bias; x [N, C, W] or [N, C, H, W].
at::Tensor convolution_reference(const Values& values,
                                 const at::Tensor& x,
                                 std::int64_t stride,
                                 std::int64_t padding);

// With the statistics of x.
at::Tensor batch_norm_reference(const at::Tensor& weight,
                                const at::Tensor& bias,
                                const at::Tensor& x,
                                double epsilon);

at::Tensor max_pool_reference(const at::Tensor& x, const kernels::PoolWindow& window);

// Values: conv, norm's two, conv, norm's two, and for a shortcut with layers its conv and norm.
at::Tensor residual_reference(const Values& values,
                              const at::Tensor& x,
                              std::int64_t stride,
                              double epsilon);

// Values: weight, bias. Returns the summed loss.
at::Tensor classifier_reference(const Values& values,
                                const at::Tensor& x,
                                const at::Tensor& targets);

// The standard deviation [N, C] of the pixels of x [N, C, H, W].
at::Tensor deviation_reference(const at::Tensor& x);

// The similarities [N, N] of rows [N, C] by the formula of similarity_loss.h.
at::Tensor similarities_reference(const at::Tensor& x);

// Returns the summed loss over samples that all have a target.
at::Tensor similarity_reference(const at::Tensor& x,
                                const at::Tensor& targets,
                                std::int64_t num_classes);

// Returns the summed loss of contrastive_loss.h, view by view.
at::Tensor contrastive_reference(const at::Tensor& x, double temperature);

}  // namespace halfback
