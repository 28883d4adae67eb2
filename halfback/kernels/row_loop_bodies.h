// The kernels of row_loops.h for one type, `Real`. Only row_loops.cpp includes this, once for each
// type, so it has no include guard. HALFBACK_FOR_EACH_CPU makes the clones.

namespace halfback::kernels::rows {

template <>
HALFBACK_FOR_EACH_CPU Real
rms_norm(const Real* x, const Real* weight, Real* output, std::int64_t columns, Real epsilon) {
  const Real squares = lane_sum<Real>(columns, [x](std::int64_t i) { return x[i] * x[i]; });
  const Real inverse_rms = Real{1} / std::sqrt(squares / static_cast<Real>(columns) + epsilon);
  for (std::int64_t i = 0; i < columns; ++i) {
    output[i] = x[i] * inverse_rms * weight[i];
  }
  return inverse_rms;
}

template <>
HALFBACK_FOR_EACH_CPU void rms_norm_backward(const RmsNormRow<Real>& row) {
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

template <>
HALFBACK_FOR_EACH_CPU Moments<Real> layer_norm(const LayerNormRow<Real>& row) {
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

template <>
HALFBACK_FOR_EACH_CPU void layer_norm_backward(const LayerNormBackwardRow<Real>& row) {
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

// The mixing function is Wellons' "lowbias32" for 32 bits, with the upper half of the key mixed in
// halfway.
template <>
HALFBACK_FOR_EACH_CPU void drop(
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

template <>
HALFBACK_FOR_EACH_CPU void swiglu(const Real* __restrict gate,
                                  const Real* __restrict up,
                                  Real* __restrict activated,
                                  std::int64_t columns) {
  for (std::int64_t i = 0; i < columns; ++i) {
    activated[i] = gate[i] / (Real{1} + exponential(-gate[i])) * up[i];
  }
}

template <>
HALFBACK_FOR_EACH_CPU void swiglu_backward(Real* __restrict gate,
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

template <>
HALFBACK_FOR_EACH_CPU void rotate(
    const Real* from, Real* to, const Real* cosine, const Real* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const Real a = from[i];
    const Real b = from[half + i];
    to[i] = a * cosine[i] - b * sine[i];
    to[half + i] = b * cosine[i] + a * sine[i];
  }
}

template <>
HALFBACK_FOR_EACH_CPU void rotate_back(
    const Real* from, Real* to, const Real* cosine, const Real* sine, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const Real a = from[i];
    const Real b = from[half + i];
    to[i] = a * cosine[i] + b * sine[i];
    to[half + i] = b * cosine[i] - a * sine[i];
  }
}

template <>
HALFBACK_FOR_EACH_CPU void add(const Real* __restrict from,
                               Real* __restrict to,
                               std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] += from[i];
  }
}

template <>
HALFBACK_FOR_EACH_CPU void log_softmax(Real* x, std::int64_t columns) {
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

template <>
HALFBACK_FOR_EACH_CPU void scaled_exp(Real* x, Real factor, std::int64_t columns) {
  for (std::int64_t i = 0; i < columns; ++i) {
    x[i] = factor * exponential(x[i]);
  }
}

template <>
HALFBACK_FOR_EACH_CPU double sum_of_squares(const Real* x, std::int64_t count) {
  return lane_sum<double>(count, [x](std::int64_t i) {
    const auto value = static_cast<double>(x[i]);
    return value * value;
  });
}

template <>
HALFBACK_FOR_EACH_CPU double sum(const Real* x, std::int64_t count) {
  return lane_sum<double>(count, [x](std::int64_t i) { return static_cast<double>(x[i]); });
}

template <>
HALFBACK_FOR_EACH_CPU double squares_around(const Real* x, Real mean, std::int64_t count) {
  return lane_sum<double>(count, [x, mean](std::int64_t i) {
    const auto distance = static_cast<double>(x[i] - mean);
    return distance * distance;
  });
}

}  // namespace halfback::kernels::rows
