// Rows scaled to norm 1, for losses that compare their directions.
#pragma once

#include <ATen/core/Tensor.h>

namespace halfback {

// Divides each row of x [N, C] by its norm + 1e-8, in place; returns the norms [N, 1].
at::Tensor divide_by_norms(const at::Tensor& x);

// Returns the gradient of x, given that of the divided rows, which it overwrites. Rows of norm 0
// pass no gradient: a direction has no derivative there.
at::Tensor divide_by_norms_backward(const at::Tensor& gradient,
                                    const at::Tensor& rows,
                                    const at::Tensor& norms);

}  // namespace halfback
