// The inner loops of rows.h, one row each. The compiler vectorizes this plain C++ for several
// instruction sets; the loader picks the best one that the machine has.
//
// This header uses no tensors, so that its source can have its own compiler options.
#pragma once

#include <cstdint>

namespace halfback::kernels::rows {

// Returns 1 / sqrt(mean(x^2) + epsilon) and writes output = x * that * weight.
template <typename Real>
Real rms_norm(const Real* x, const Real* weight, Real* output, std::int64_t columns, Real epsilon);

// One row of RmsNormBackward; residual and output may be null; grad_weight is added to.
template <typename Real>
struct RmsNormRow {
  const Real* x;
  const Real* weight;
  const Real* residual;
  Real* gradient;
  Real* output;
  Real* grad_weight;
  Real inverse_rms;
  std::int64_t columns;
};
template <typename Real>
void rms_norm_backward(const RmsNormRow<Real>& row);

// Mean of a row and 1 / sqrt(variance + epsilon).
template <typename Real>
struct Moments {
  Real mean;
  Real inverse_deviation;
};

// Returns the moments and writes output = (x - mean) * inverse_deviation * weight + bias.
template <typename Real>
struct LayerNormRow {
  const Real* x;
  const Real* weight;
  const Real* bias;
  Real* output;
  std::int64_t columns;
  Real epsilon;
};
template <typename Real>
Moments<Real> layer_norm(const LayerNormRow<Real>& row);

// One row of LayerNormBackward; residual and output may be null; grad_weight and grad_bias are
// added to.
template <typename Real>
struct LayerNormBackwardRow {
  const Real* x;
  const Real* weight;
  const Real* bias;
  const Real* residual;
  Real* gradient;
  Real* output;
  Real* grad_weight;
  Real* grad_bias;
  Moments<Real> moments;
  std::int64_t columns;
};
template <typename Real>
void layer_norm_backward(const LayerNormBackwardRow<Real>& row);

// Dropout for elements from `first` on: to = from x scale if the draw keeps the element, else 0.
// The draw is a function of key and index; element i stays with probability 1 - threshold / 2^32.
struct Draw {
  std::uint64_t key;
  std::uint32_t threshold;
  std::int64_t first;
};
template <typename Real>
void drop(const Real* from, Real* to, std::int64_t count, Real scale, const Draw& draw);

template <typename Real>
void swiglu(const Real* gate, const Real* up, Real* activated, std::int64_t columns);

// gate, up: in: values; out: gradients. activated: in: its gradient; out: its value.
template <typename Real>
void swiglu_backward(Real* gate, Real* up, Real* activated, std::int64_t columns);

// Rotates the pairs (i, half + i) by the angles; from and to may be the same.
template <typename Real>
void rotate(const Real* from, Real* to, const Real* cosine, const Real* sine, std::int64_t half);
template <typename Real>
void rotate_back(
    const Real* from, Real* to, const Real* cosine, const Real* sine, std::int64_t half);

template <typename Real>
void add(const Real* from, Real* to, std::int64_t count);

template <typename Real>
void log_softmax(Real* x, std::int64_t columns);

// x = factor * exp(x).
template <typename Real>
void scaled_exp(Real* x, Real factor, std::int64_t columns);

template <typename Real>
double sum_of_squares(const Real* x, std::int64_t count);

// Returns the sum of x, and of (x - mean)^2.
template <typename Real>
double sum(const Real* x, std::int64_t count);
template <typename Real>
double squares_around(const Real* x, Real mean, std::int64_t count);

// One channel of a batch norm: v = (x - mean) * scale + bias, and y = max(v, 0) with a ReLU.
template <typename Real>
struct NormChannel {
  Real mean;
  Real scale;  // weight / standard deviation
  Real bias;
  bool has_relu;
};
template <typename Real>
void normalize(const NormChannel<Real>& channel, const Real* x, Real* y, std::int64_t count);

// Sums that the backward of a channel needs, over the elements that the ReLU let through: of g, and
// of g * (x - mean).
struct NormSums {
  double gradient = 0.0;
  double product = 0.0;
};
template <typename Real>
NormSums norm_sums(const NormChannel<Real>& channel,
                   const Real* x,
                   const Real* gradient,
                   std::int64_t count);

// Writes the gradient of x: scale * (g - shift - slope * (x - mean)).
template <typename Real>
struct NormGradient {
  NormChannel<Real> channel;
  Real shift;
  Real slope;
};
template <typename Real>
void normalize_backward(const NormGradient<Real>& terms,
                        const Real* x,
                        const Real* gradient,
                        Real* grad_x,
                        std::int64_t count);

// y = max(x + added, 0), where `added` may be null. Bit i % 8 of mask[i / 8] is set if element i
// got through; NaN does.
template <typename Real>
void relu(const Real* x, const Real* added, Real* y, std::uint8_t* mask, std::int64_t count);
template <typename Real>
void relu_backward(const Real* gradient,
                   const std::uint8_t* mask,
                   Real* grad_x,
                   std::int64_t count);

}  // namespace halfback::kernels::rows
