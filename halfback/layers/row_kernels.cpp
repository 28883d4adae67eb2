#include "halfback/layers/row_kernels.h"

#include "halfback/layers/vector_math.h"

#include <cmath>

// Sanitizers start after the loader has resolved the clones, so there is one plain version there.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HALFBACK_FOR_EACH_CPU \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HALFBACK_FOR_EACH_CPU
#endif

namespace halfback::kernels::rows {

namespace {

constexpr std::int64_t kBitsOfByte = 8;
constexpr std::int64_t kLanes = 16;  // running sums, so that a sum vectorizes without reordering

template <typename Real>
[[gnu::always_inline]] inline Real fold(Real (&lanes)[kLanes]) {
  for (std::int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::int64_t lane = 0; lane < width; ++lane) {
      lanes[lane] += lanes[lane + width];
    }
  }
  return lanes[0];
}

template <typename Real, typename Term>
[[gnu::always_inline]] inline Real lane_sum(std::int64_t count, Term term) {
  Real lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      lanes[lane] += term(i + lane);
    }
  }
  for (std::int64_t lane = 0; i + lane < count; ++lane) {
    lanes[lane] += term(i + lane);
  }
  return fold(lanes);
}

}  // namespace

// Each body is written once as a macro-free inline template and instantiated through a cloned
// function, because an attribute for clones does not apply to templates.
namespace body {

template <typename Real>
[[gnu::always_inline]] inline Real rms_norm(
    const Real* x, const Real* weight, Real* output, std::int64_t columns, Real epsilon) {
  const Real squares = lane_sum<Real>(columns, [x](std::int64_t i) { return x[i] * x[i]; });
  const Real inverse_rms = Real{1} / std::sqrt(squares / static_cast<Real>(columns) + epsilon);
  for (std::int64_t i = 0; i < columns; ++i) {
    output[i] = x[i] * inverse_rms * weight[i];
  }
  return inverse_rms;
}

template <typename Real>
[[gnu::always_inline]] inline void rms_norm_backward(const RmsNormRow<Real>& row) {
  const Real* __restrict x = row.x;
  const Real* __restrict w = row.weight;
  Real* __restrict g = row.gradient;
  Real* __restrict sums = row.grad_weight;
  const Real r = row.inverse_rms;
  const std::int64_t columns = row.columns;
  const Real dot = lane_sum<Real>(columns, [=](std::int64_t i) { return g[i] * w[i] * x[i]; });
  const Real shift = dot * r * r / static_cast<Real>(columns);
  for (std::int64_t i = 0; i < columns; ++i) {
    sums[i] += g[i] * x[i] * r;
    g[i] = r * (g[i] * w[i] - x[i] * shift);
  }
  if (row.residual != nullptr) {
    const Real* __restrict residual = row.residual;
    for (std::int64_t i = 0; i < columns; ++i) {
      g[i] += residual[i];
    }
  }
  if (row.output != nullptr) {
    Real* __restrict output = row.output;
    for (std::int64_t i = 0; i < columns; ++i) {
      output[i] = x[i] * r * w[i];
    }
  }
}

template <typename Real>
[[gnu::always_inline]] inline Moments<Real> layer_norm(const LayerNormRow<Real>& row) {
  const Real* x = row.x;
  const Real* __restrict w = row.weight;
  const Real* __restrict b = row.bias;
  Real* __restrict y = row.output;
  const auto count = static_cast<Real>(row.columns);
  const Real mean = lane_sum<Real>(row.columns, [x](std::int64_t i) { return x[i]; }) / count;
  const Real squares = lane_sum<Real>(
      row.columns, [x, mean](std::int64_t i) { return (x[i] - mean) * (x[i] - mean); });
  const Real r = Real{1} / std::sqrt(squares / count + row.epsilon);
  for (std::int64_t i = 0; i < row.columns; ++i) {
    y[i] = (x[i] - mean) * r * w[i] + b[i];
  }
  return {mean, r};
}

template <typename Real>
[[gnu::always_inline]] inline void layer_norm_backward(const LayerNormBackwardRow<Real>& row) {
  const Real* __restrict x = row.x;
  const Real* __restrict w = row.weight;
  Real* __restrict g = row.gradient;
  Real* __restrict weight_sums = row.grad_weight;
  Real* __restrict bias_sums = row.grad_bias;
  const Real mean = row.moments.mean;
  const Real r = row.moments.inverse_deviation;
  const auto count = static_cast<Real>(row.columns);
  const Real sum = lane_sum<Real>(row.columns, [=](std::int64_t i) { return g[i] * w[i]; }) / count;
  const Real dot =
      lane_sum<Real>(row.columns,
                     [=](std::int64_t i) { return g[i] * w[i] * ((x[i] - mean) * r); }) /
      count;
  for (std::int64_t i = 0; i < row.columns; ++i) {
    const Real normed = (x[i] - mean) * r;
    weight_sums[i] += g[i] * normed;
    bias_sums[i] += g[i];
    g[i] = r * (g[i] * w[i] - sum - normed * dot);
  }
  if (row.residual != nullptr) {
    const Real* __restrict residual = row.residual;
    for (std::int64_t i = 0; i < row.columns; ++i) {
      g[i] += residual[i];
    }
  }
  if (row.output != nullptr) {
    const Real* __restrict b = row.bias;
    Real* __restrict output = row.output;
    for (std::int64_t i = 0; i < row.columns; ++i) {
      output[i] = (x[i] - mean) * r * w[i] + b[i];
    }
  }
}

// The mixing function is Wellons' "lowbias32" for 32 bits, with the other half of the key between.
template <typename Real>
[[gnu::always_inline]] inline void drop(
    const Real* from, Real* to, std::int64_t count, Real scale, const Draw& draw) {
  const auto low = static_cast<std::uint32_t>(draw.key) + static_cast<std::uint32_t>(draw.first);
  const auto high = static_cast<std::uint32_t>(draw.key >> 32U);
  const std::uint32_t threshold = draw.threshold;
  for (std::int64_t i = 0; i < count; ++i) {
    std::uint32_t bits = low + static_cast<std::uint32_t>(i);
    bits = (bits ^ (bits >> 16U)) * 0x7feb352dU;
    bits ^= high;
    bits = (bits ^ (bits >> 15U)) * 0x846ca68bU;
    bits ^= bits >> 16U;
    to[i] = bits >= threshold ? from[i] * scale : Real{0};
  }
}

template <typename Real>
[[gnu::always_inline]] inline void swiglu(const Real* __restrict gate,
                                          const Real* __restrict up,
                                          Real* __restrict activated,
                                          std::int64_t columns) {
  for (std::int64_t i = 0; i < columns; ++i) {
    activated[i] = gate[i] / (Real{1} + exponential(-gate[i])) * up[i];
  }
}

template <typename Real>
[[gnu::always_inline]] inline void swiglu_backward(Real* __restrict gate,
                                                   Real* __restrict up,
                                                   Real* __restrict activated,
                                                   std::int64_t columns) {
  for (std::int64_t i = 0; i < columns; ++i) {
    const Real sigmoid = Real{1} / (Real{1} + exponential(-gate[i]));
    const Real silu = gate[i] * sigmoid;
    const Real g = activated[i];
    activated[i] = silu * up[i];
    gate[i] = g * up[i] * (sigmoid + silu * (Real{1} - sigmoid));
    up[i] = g * silu;
  }
}

template <typename Real>
[[gnu::always_inline]] inline void rotate(
    const Real* from, Real* to, const Real* cosine, const Real* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const Real a = from[i];
    const Real b = from[half + i];
    to[i] = a * cosine[i] - b * sine[i];
    to[half + i] = b * cosine[i] + a * sine[i];
  }
}

template <typename Real>
[[gnu::always_inline]] inline void rotate_back(
    const Real* from, Real* to, const Real* cosine, const Real* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const Real a = from[i];
    const Real b = from[half + i];
    to[i] = a * cosine[i] + b * sine[i];
    to[half + i] = b * cosine[i] - a * sine[i];
  }
}

template <typename Real>
[[gnu::always_inline]] inline void add(const Real* __restrict from,
                                       Real* __restrict to,
                                       std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] += from[i];
  }
}

template <typename Real>
[[gnu::always_inline]] inline void log_softmax(Real* x, std::int64_t columns) {
  Real largest = x[0];
  for (std::int64_t i = 1; i < columns; ++i) {
    largest = x[i] > largest ? x[i] : largest;
  }
  const Real total =
      lane_sum<Real>(columns, [=](std::int64_t i) { return exponential(x[i] - largest); });
  const Real shift = largest + std::log(total);
  for (std::int64_t i = 0; i < columns; ++i) {
    x[i] -= shift;
  }
}

template <typename Real>
[[gnu::always_inline]] inline void scaled_exp(Real* x, Real factor, std::int64_t columns) {
  for (std::int64_t i = 0; i < columns; ++i) {
    x[i] = factor * exponential(x[i]);
  }
}

template <typename Real>
[[gnu::always_inline]] inline double sum_of_squares(const Real* x, std::int64_t count) {
  return lane_sum<double>(count, [x](std::int64_t i) {
    const auto value = static_cast<double>(x[i]);
    return value * value;
  });
}

template <typename Real>
[[gnu::always_inline]] inline double sum(const Real* x, std::int64_t count) {
  return lane_sum<double>(count, [x](std::int64_t i) { return static_cast<double>(x[i]); });
}

template <typename Real>
[[gnu::always_inline]] inline double squares_around(const Real* x, Real mean, std::int64_t count) {
  return lane_sum<double>(count, [x, mean](std::int64_t i) {
    const auto distance = static_cast<double>(x[i] - mean);
    return distance * distance;
  });
}

// Forward and backward ask the same expression, so that they agree on what a ReLU lets through.
template <typename Real>
[[gnu::always_inline]] inline Real normalized(const NormChannel<Real>& channel, Real x) {
  return (x - channel.mean) * channel.scale + channel.bias;
}

template <typename Real>
[[gnu::always_inline]] inline Real passed(const NormChannel<Real>& channel, Real x, Real gradient) {
  return normalized(channel, x) <= Real{0} ? Real{0} : gradient;
}

template <typename Real>
[[gnu::always_inline]] inline void normalize(const NormChannel<Real>& channel,
                                             const Real* __restrict x,
                                             Real* __restrict y,
                                             std::int64_t count) {
  const NormChannel<Real> c = channel;
  if (!c.has_relu) {
    for (std::int64_t i = 0; i < count; ++i) {
      y[i] = normalized(c, x[i]);
    }
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const Real value = normalized(c, x[i]);
    y[i] = value <= Real{0} ? Real{0} : value;
  }
}

template <typename Real>
[[gnu::always_inline]] inline NormSums norm_sums(const NormChannel<Real>& channel,
                                                 const Real* x,
                                                 const Real* gradient,
                                                 std::int64_t count) {
  const NormChannel<Real> c = channel;
  double gradients[kLanes] = {};
  double products[kLanes] = {};
  const auto add = [&](std::int64_t begin, std::int64_t num_lanes) {
    Real through[kLanes];
    for (std::int64_t lane = 0; lane < num_lanes; ++lane) {
      const Real value = gradient[begin + lane];
      through[lane] = c.has_relu ? passed(c, x[begin + lane], value) : value;
    }
    for (std::int64_t lane = 0; lane < num_lanes; ++lane) {
      gradients[lane] += static_cast<double>(through[lane]);
    }
    for (std::int64_t lane = 0; lane < num_lanes; ++lane) {
      products[lane] += static_cast<double>(through[lane] * (x[begin + lane] - c.mean));
    }
  };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    add(i, kLanes);
  }
  add(i, count - i);
  return {.gradient = fold(gradients), .product = fold(products)};
}

template <typename Real>
[[gnu::always_inline]] inline void normalize_backward(const NormGradient<Real>& terms,
                                                      const Real* __restrict x,
                                                      const Real* __restrict gradient,
                                                      Real* __restrict grad_x,
                                                      std::int64_t count) {
  const NormGradient<Real> t = terms;
  const auto write = [=](auto through) {
    for (std::int64_t i = 0; i < count; ++i) {
      grad_x[i] = t.channel.scale * (through(i) - t.shift - t.slope * (x[i] - t.channel.mean));
    }
  };
  if (t.channel.has_relu) {
    write([=](std::int64_t i) { return passed(t.channel, x[i], gradient[i]); });
  } else {
    write([=](std::int64_t i) { return gradient[i]; });
  }
}

template <typename Real>
[[gnu::always_inline]] inline void relu(const Real* __restrict x,
                                        const Real* __restrict added,
                                        Real* __restrict y,
                                        std::uint8_t* __restrict mask,
                                        std::int64_t count) {
  for (std::int64_t begin = 0; begin < count; begin += kBitsOfByte) {
    const std::int64_t end = std::min(count, begin + kBitsOfByte);
    unsigned bits = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const Real value = added == nullptr ? x[i] : x[i] + added[i];
      const bool is_cut = value <= Real{0};
      y[i] = is_cut ? Real{0} : value;
      bits |= (is_cut ? 0U : 1U) << (i - begin);
    }
    mask[begin / kBitsOfByte] = static_cast<std::uint8_t>(bits);
  }
}

template <typename Real>
[[gnu::always_inline]] inline void relu_backward(const Real* __restrict gradient,
                                                 const std::uint8_t* __restrict mask,
                                                 Real* __restrict grad_x,
                                                 std::int64_t count) {
  for (std::int64_t begin = 0; begin < count; begin += kBitsOfByte) {
    const std::int64_t end = std::min(count, begin + kBitsOfByte);
    const unsigned bits = mask[begin / kBitsOfByte];
    for (std::int64_t i = begin; i < end; ++i) {
      grad_x[i] = (bits >> (i - begin) & 1U) != 0U ? gradient[i] : Real{0};
    }
  }
}

}  // namespace body

#define HALFBACK_ROW_KERNELS(Real)                                                               \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU Real rms_norm(const Real* x, const Real* weight, Real* output,           \
                                      std::int64_t columns, Real epsilon) {                      \
    return body::rms_norm(x, weight, output, columns, epsilon);                                  \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void rms_norm_backward(const RmsNormRow<Real>& row) {                    \
    body::rms_norm_backward(row);                                                                \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU Moments<Real> layer_norm(const LayerNormRow<Real>& row) {                \
    return body::layer_norm(row);                                                                \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void layer_norm_backward(const LayerNormBackwardRow<Real>& row) {        \
    body::layer_norm_backward(row);                                                              \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void drop(const Real* from, Real* to, std::int64_t count, Real scale,    \
                                  const Draw& draw) {                                            \
    body::drop(from, to, count, scale, draw);                                                    \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void swiglu(const Real* gate, const Real* up, Real* activated,           \
                                    std::int64_t columns) {                                      \
    body::swiglu(gate, up, activated, columns);                                                  \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void swiglu_backward(Real* gate, Real* up, Real* activated,              \
                                             std::int64_t columns) {                             \
    body::swiglu_backward(gate, up, activated, columns);                                         \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void rotate(const Real* from, Real* to, const Real* cosine,              \
                                    const Real* sine, std::int64_t half) {                       \
    body::rotate(from, to, cosine, sine, half);                                                  \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void rotate_back(const Real* from, Real* to, const Real* cosine,         \
                                         const Real* sine, std::int64_t half) {                  \
    body::rotate_back(from, to, cosine, sine, half);                                             \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void add(const Real* from, Real* to, std::int64_t count) {               \
    body::add(from, to, count);                                                                  \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void log_softmax(Real* x, std::int64_t columns) {                        \
    body::log_softmax(x, columns);                                                               \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void scaled_exp(Real* x, Real factor, std::int64_t columns) {            \
    body::scaled_exp(x, factor, columns);                                                        \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU double sum_of_squares(const Real* x, std::int64_t count) {               \
    return body::sum_of_squares(x, count);                                                       \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU double sum(const Real* x, std::int64_t count) {                          \
    return body::sum(x, count);                                                                  \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU double squares_around(const Real* x, Real mean, std::int64_t count) {    \
    return body::squares_around(x, mean, count);                                                 \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void normalize(const NormChannel<Real>& channel, const Real* x, Real* y, \
                                       std::int64_t count) {                                     \
    body::normalize(channel, x, y, count);                                                       \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU NormSums norm_sums(const NormChannel<Real>& channel, const Real* x,      \
                                           const Real* gradient, std::int64_t count) {           \
    return body::norm_sums(channel, x, gradient, count);                                         \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void normalize_backward(const NormGradient<Real>& terms, const Real* x,  \
                                                const Real* gradient, Real* grad_x,              \
                                                std::int64_t count) {                            \
    body::normalize_backward(terms, x, gradient, grad_x, count);                                 \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void relu(const Real* x, const Real* added, Real* y, std::uint8_t* mask, \
                                  std::int64_t count) {                                          \
    body::relu(x, added, y, mask, count);                                                        \
  }                                                                                              \
  template <>                                                                                    \
  HALFBACK_FOR_EACH_CPU void relu_backward(const Real* gradient, const std::uint8_t* mask,       \
                                           Real* grad_x, std::int64_t count) {                   \
    body::relu_backward(gradient, mask, grad_x, count);                                          \
  }

HALFBACK_ROW_KERNELS(float)
HALFBACK_ROW_KERNELS(double)

#undef HALFBACK_ROW_KERNELS

}  // namespace halfback::kernels::rows
