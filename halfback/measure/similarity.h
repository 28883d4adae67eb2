// How alike two representations, or two matrices of weights, are. All sums are in double.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace halfback {

// Returns the linear centered kernel alignment of two representations of the same samples, x
// [samples, features] and y [samples, other features]:
//
//   ||Y^T X||^2 / (||X^T X|| ||Y^T Y||)   with centered columns and Frobenius norms.
//
// It is 1 if one is the other turned, mirrored or scaled, 0 if no feature of one is correlated with
// any of the other, and NaN if one has the same row for all samples. Computes the products of
// samples with samples, which are equal: cost samples^2 x features. Throws ConfigError for another
// number of dimensions or of samples.
//
// Source: Kornblith, Norouzi, Lee, Hinton, "Similarity of Neural Network Representations
// Revisited", ICML 2019, arXiv:1905.00414.
double linear_cka(const at::Tensor& x, const at::Tensor& y);

// Returns the principal angles between the column spaces of a [rows, columns] and b [rows, other
// columns], in radians, descending, as many as the smaller space has dimensions (none if a matrix
// is 0): 0 for a direction that is in both, pi/2 for one that is at right angles to all of the
// other. Small ones come from sines, and so are as precise as large ones. Throws ConfigError for
// another number of dimensions or of rows.
//
// Source: Bjorck and Golub, "Numerical Methods for Computing Angles Between Linear Subspaces",
// Math. Comp. 27, 1973; as SciPy's linalg.subspace_angles.
std::vector<double> subspace_angles(const at::Tensor& a, const at::Tensor& b);

}  // namespace halfback
