#include "halfback/kernels/scan_loops.h"

#include "halfback/kernels/vector_math.h"

#include <algorithm>
#include <cmath>

// As in row_loops.cpp.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HALFBACK_FOR_EACH_CPU \
  __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HALFBACK_FOR_EACH_CPU
#endif

namespace halfback::kernels::rows {

namespace {

constexpr std::int64_t kLanes = 16;  // of one block of channels

// Steps x channels. A row has whole vectors; unused channels are zero.
template <typename Real>
using Tile = Real[kScanSteps][kScanChannels];
template <typename Real>
using Block = Real[kScanSteps][kLanes];

template <typename Real>
struct ForwardTile {
  Tile<Real> step = {};       // after softplus
  Tile<Real> increment = {};  // step * input
  Tile<Real> output = {};     // without skip and gate
};

template <typename Real>
[[gnu::always_inline]] inline void pack(const ScanRows<Real>& rows, ForwardTile<Real>& tile) {
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    const Real* __restrict input = rows.input + t * rows.row;
    const Real* __restrict raw = rows.step + t * rows.row;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      tile.step[t][i] = softplus(raw[i]);
      tile.increment[t][i] = tile.step[t][i] * input[i];
    }
  }
}

template <typename Real>
[[gnu::always_inline]] inline void scan_block(const ScanRows<Real>& rows,
                                              ForwardTile<Real>& tile,
                                              std::int64_t s,
                                              std::int64_t first) {
  const Real* __restrict rate = rows.rate + s * kScanChannels + first;
  Real* __restrict state = rows.state + s * kScanChannels + first;
  Real h[kLanes];
  std::copy_n(state, kLanes, h);
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    const Real into = rows.to_state[t * rows.projected_row + s];
    const Real out_of = rows.from_state[t * rows.projected_row + s];
    const Real* __restrict step = tile.step[t] + first;
    const Real* __restrict increment = tile.increment[t] + first;
    Real* __restrict output = tile.output[t] + first;
    for (std::int64_t i = 0; i < kLanes; ++i) {
      h[i] = exponential(step[i] * rate[i]) * h[i] + increment[i] * into;
      output[i] += out_of * h[i];
    }
  }
  std::copy_n(h, kLanes, state);
}

template <typename Real>
struct BackwardTile {
  ForwardTile<Real> forward;
  Tile<Real> grad_output = {};  // before the gate
  Tile<Real> grad_step = {};
  Tile<Real> grad_increment = {};
};

// Work space for one state of one block of channels; sums over channels are kept by lane.
template <typename Real>
struct BackwardBlock {
  Block<Real> decay;
  Real states[kScanSteps + 1][kLanes];  // row t is the state before step t
  Block<Real> grad_to_state;
  Block<Real> grad_from_state;
};

template <typename Real>
[[gnu::always_inline]] inline void recompute_states(const ScanRows<Real>& rows,
                                                    BackwardTile<Real>& tile,
                                                    BackwardBlock<Real>& block,
                                                    std::int64_t s,
                                                    std::int64_t first) {
  const Real* __restrict rate = rows.rate + s * kScanChannels + first;
  Real h[kLanes];
  std::copy_n(rows.state + s * kScanChannels + first, kLanes, h);
  std::copy_n(h, kLanes, block.states[0]);
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    const Real into = rows.to_state[t * rows.projected_row + s];
    const Real out_of = rows.from_state[t * rows.projected_row + s];
    const Real* __restrict step = tile.forward.step[t] + first;
    const Real* __restrict increment = tile.forward.increment[t] + first;
    Real* __restrict output = tile.forward.output[t] + first;
    Real* __restrict decay = block.decay[t];
    Real* __restrict after = block.states[t + 1];
    for (std::int64_t i = 0; i < kLanes; ++i) {
      decay[i] = exponential(step[i] * rate[i]);
      h[i] = decay[i] * h[i] + increment[i] * into;
      after[i] = h[i];
      output[i] += out_of * h[i];
    }
  }
}

template <typename Real>
[[gnu::always_inline]] inline void scan_block_backward(const ScanRows<Real>& rows,
                                                       const ScanGradientRows<Real>& gradients,
                                                       BackwardTile<Real>& tile,
                                                       BackwardBlock<Real>& block,
                                                       std::int64_t s,
                                                       std::int64_t first) {
  const Real* __restrict rate = rows.rate + s * kScanChannels + first;
  Real carry[kLanes];
  Real grad_rate[kLanes] = {};
  std::copy_n(gradients.carry + s * kScanChannels + first, kLanes, carry);
  for (std::int64_t t = rows.num_steps - 1; t >= 0; --t) {
    const Real into = rows.to_state[t * rows.projected_row + s];
    const Real out_of = rows.from_state[t * rows.projected_row + s];
    const Real* __restrict step = tile.forward.step[t] + first;
    const Real* __restrict increment = tile.forward.increment[t] + first;
    const Real* __restrict g = tile.grad_output[t] + first;
    Real* __restrict grad_step = tile.grad_step[t] + first;
    Real* __restrict grad_increment = tile.grad_increment[t] + first;
    for (std::int64_t i = 0; i < kLanes; ++i) {
      const Real grad_state = g[i] * out_of + carry[i];
      block.grad_from_state[t][i] += g[i] * block.states[t + 1][i];
      block.grad_to_state[t][i] += grad_state * increment[i];
      grad_increment[i] += grad_state * into;
      carry[i] = grad_state * block.decay[t][i];
      const Real through_decay = carry[i] * block.states[t][i];
      grad_step[i] += through_decay * rate[i];
      grad_rate[i] += through_decay * step[i];
    }
  }
  std::copy_n(carry, kLanes, gradients.carry + s * kScanChannels + first);
  for (std::int64_t i = 0; i < kLanes; ++i) {
    gradients.grad_rate[s * kScanChannels + first + i] += grad_rate[i];
  }
}

template <typename Real>
[[gnu::always_inline]] inline Real total(const Real (&lanes)[kLanes]) {
  Real sums[kLanes / 2];
  for (std::int64_t i = 0; i < kLanes / 2; ++i) {
    sums[i] = lanes[i] + lanes[i + kLanes / 2];
  }
  for (std::int64_t width = kLanes / 4; width > 0; width /= 2) {
    for (std::int64_t i = 0; i < width; ++i) {
      sums[i] += sums[i + width];
    }
  }
  return sums[0];
}

template <typename Real>
[[gnu::always_inline]] inline void pack(const ScanRows<Real>& rows,
                                        const ScanGradientRows<Real>& gradients,
                                        BackwardTile<Real>& tile) {
  pack(rows, tile.forward);
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    const Real* __restrict gate = rows.gate + t * rows.gate_row;
    const Real* __restrict g = gradients.gated + t * rows.row;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      tile.grad_output[t][i] = g[i] * gate[i] * logistic(gate[i]);
    }
  }
}

template <typename Real>
[[gnu::always_inline]] inline void unpack(const ScanRows<Real>& rows,
                                          const ScanGradientRows<Real>& gradients,
                                          const BackwardTile<Real>& tile) {
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    const Real* __restrict input = rows.input + t * rows.row;
    const Real* __restrict skip = rows.skip;
    Real* __restrict raw = rows.step + t * rows.row;
    Real* __restrict gate = rows.gate + t * rows.gate_row;
    Real* __restrict gated = gradients.gated + t * rows.row;
    Real* __restrict grad_input = gradients.grad_input + t * rows.row;
    Real* __restrict grad_skip = gradients.grad_skip;
    Real* __restrict grad_bias = gradients.grad_bias;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      const Real output = tile.forward.output[t][i] + skip[i] * input[i];
      const Real sigmoid = logistic(gate[i]);
      const Real silu = gate[i] * sigmoid;
      gate[i] = gated[i] * output * (sigmoid + silu * (Real{1} - sigmoid));
      gated[i] = output * silu;
      const Real g = tile.grad_output[t][i];
      const Real grad_increment = tile.grad_increment[t][i];
      grad_input[i] = tile.forward.step[t][i] * grad_increment + g * skip[i];
      raw[i] = (tile.grad_step[t][i] + input[i] * grad_increment) * logistic(raw[i]);
      grad_skip[i] += g * input[i];
      grad_bias[i] += raw[i];
    }
  }
}

// sums = bias + the taps of step t, before silu.
template <typename Real>
[[gnu::always_inline]] inline void convolve(const ConvolutionRows<Real>& rows,
                                            std::int64_t t,
                                            Real* __restrict sums) {
  std::copy_n(rows.bias, rows.num_channels, sums);
  const std::int64_t oldest = t - rows.num_taps + 1;
  for (std::int64_t k = std::max<std::int64_t>(0, -oldest); k < rows.num_taps; ++k) {
    const Real* __restrict weight = rows.weight + k * rows.weight_row;
    const Real* __restrict input = rows.input + (oldest + k) * rows.input_row;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      sums[i] += weight[i] * input[i];
    }
  }
}

template <typename Real>
[[gnu::always_inline]] inline void convolution_backward_weight(const ConvolutionRows<Real>& rows,
                                                               std::int64_t t,
                                                               const Real* __restrict g,
                                                               Real* grad_weight) {
  const std::int64_t oldest = t - rows.num_taps + 1;
  for (std::int64_t k = std::max<std::int64_t>(0, -oldest); k < rows.num_taps; ++k) {
    const Real* __restrict input = rows.input + (oldest + k) * rows.input_row;
    Real* __restrict sums = grad_weight + k * rows.weight_row;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      sums[i] += g[i] * input[i];
    }
  }
}

template <typename Real>
[[gnu::always_inline]] inline void convolution_backward_input(const ConvolutionRows<Real>& rows,
                                                              std::int64_t t) {
  Real* __restrict gradient = rows.input + t * rows.input_row;
  std::fill_n(gradient, rows.num_channels, Real{0});
  const std::int64_t reach = std::min(rows.num_taps, rows.num_steps - t);
  for (std::int64_t ahead = 0; ahead < reach; ++ahead) {
    const Real* __restrict g = rows.output + (t + ahead) * rows.output_row;
    const Real* __restrict weight = rows.weight + (rows.num_taps - 1 - ahead) * rows.weight_row;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      gradient[i] += g[i] * weight[i];
    }
  }
}

}  // namespace

}  // namespace halfback::kernels::rows

#define Real float
#include "halfback/kernels/scan_loop_bodies.h"
#undef Real
#define Real double
#include "halfback/kernels/scan_loop_bodies.h"
#undef Real
