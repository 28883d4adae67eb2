#include "halfback/measure/similarity.h"

#include "halfback/base/error.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/linalg_svdvals.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace halfback {

namespace {

std::string shape_of(const at::Tensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.sizes(), ", "));
}

void require_rows(const at::Tensor& one, const at::Tensor& other) {
  if (one.dim() != 2 || other.dim() != 2 || one.size(0) != other.size(0) || one.size(0) == 0) {
    throw ConfigError(
        fmt::format("similarity: the shapes are {} and {}; expected two matrices with as many rows",
                    shape_of(one), shape_of(other)));
  }
}

// The products of centered samples with each other.
at::Tensor centered_products(const at::Tensor& samples) {
  const at::Tensor all = samples.to(at::kDouble);
  const at::Tensor centered = all - all.mean(0, true);
  return centered.matmul(centered.t());
}

// An orthonormal basis of the column space, without what is only rounding.
at::Tensor column_basis(const at::Tensor& matrix) {
  const auto [left, values, right] = at::linalg_svd(matrix.to(at::kDouble), false);
  const double least = std::numeric_limits<double>::epsilon() *
                       static_cast<double>(std::max(matrix.size(0), matrix.size(1))) *
                       (values.numel() > 0 ? values.max().item<double>() : 0.0);
  return left.narrow(1, 0, (values > least).sum().item<std::int64_t>());
}

}  // namespace

double linear_cka(const at::Tensor& x, const at::Tensor& y) {
  require_rows(x, y);
  const at::Tensor of_x = centered_products(x);
  const at::Tensor of_y = centered_products(y);
  return (of_x * of_y).sum().item<double>() /
         (of_x.norm().item<double>() * of_y.norm().item<double>());
}

std::vector<double> subspace_angles(const at::Tensor& a, const at::Tensor& b) {
  require_rows(a, b);
  at::Tensor wide = column_basis(a);
  at::Tensor narrow = column_basis(b);
  if (wide.size(1) < narrow.size(1)) {
    std::swap(wide, narrow);
  }
  const at::Tensor product = wide.t().matmul(narrow);
  const at::Tensor cosines = at::linalg_svdvals(product).flip(0);  // sines descend
  const at::Tensor sines = at::linalg_svdvals(narrow - wide.matmul(product));
  std::vector<double> angles;
  for (std::int64_t i = 0; i < narrow.size(1); ++i) {
    const double cosine = cosines[i].item<double>();
    const double sine = sines[i].item<double>();
    angles.push_back(cosine * cosine >= 0.5 ? std::asin(std::min(sine, 1.0)) : std::acos(cosine));
  }
  return angles;
}

}  // namespace halfback
