// The kernels of row_loops.h for the channels of a batch norm and for ReLU. Included like
// row_loop_bodies.h.

namespace halfback::kernels::rows {

template <>
HALFBACK_FOR_EACH_CPU void normalize(const NormChannel<Real>& channel,
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

template <>
HALFBACK_FOR_EACH_CPU NormSums norm_sums(const NormChannel<Real>& channel,
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

template <>
HALFBACK_FOR_EACH_CPU void normalize_backward(const NormGradient<Real>& terms,
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

template <>
HALFBACK_FOR_EACH_CPU void relu(const Real* __restrict x,
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

template <>
HALFBACK_FOR_EACH_CPU void relu_backward(const Real* __restrict gradient,
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

}  // namespace halfback::kernels::rows
