#include "halfback/layers/unit_rows.h"

#include <ATen/ops/linalg_vector_norm.h>

namespace halfback {

namespace {

constexpr double kEpsilon = 1e-8;

}  // namespace

at::Tensor divide_by_norms(const at::Tensor& x) {
  at::Tensor norms = at::linalg_vector_norm(x, 2, 1, /*keepdim=*/true);
  x.div_(norms.add(kEpsilon));
  return norms;
}

at::Tensor divide_by_norms_backward(const at::Tensor& gradient,
                                    const at::Tensor& rows,
                                    const at::Tensor& norms) {
  const at::Tensor divisors = norms.add(kEpsilon);
  const at::Tensor along = gradient.mul(rows).sum(1, /*keepdim=*/true).mul_(divisors).div_(norms);
  return gradient.sub_(rows.mul(along)).div_(divisors).masked_fill_(norms.eq(0.0), 0.0);
}

}  // namespace halfback
