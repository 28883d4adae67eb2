// The functions of scan_loops.h for one type, `Real`. Only scan_loops.cpp includes this, once for
// each type, like row_loop_bodies.h.

namespace halfback::kernels::rows {

template <>
HALFBACK_FOR_EACH_CPU void scan(const ScanRows<Real>& rows) {
  ForwardTile<Real> tile;
  pack(rows, tile);
  for (std::int64_t s = 0; s < rows.num_states; ++s) {
    for (std::int64_t first = 0; first < rows.num_channels; first += kLanes) {
      scan_block(rows, tile, s, first);
    }
  }
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    const Real* __restrict input = rows.input + t * rows.row;
    const Real* __restrict gate = rows.gate + t * rows.gate_row;
    Real* __restrict gated = rows.step + t * rows.row;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      gated[i] = (tile.output[t][i] + rows.skip[i] * input[i]) * (gate[i] * logistic(gate[i]));
    }
  }
}

template <>
HALFBACK_FOR_EACH_CPU void scan_backward(const ScanRows<Real>& rows,
                                         const ScanGradientRows<Real>& gradients) {
  BackwardTile<Real> tile;
  pack(rows, gradients, tile);
  BackwardBlock<Real> block;
  for (std::int64_t s = 0; s < rows.num_states; ++s) {
    std::fill_n(&block.grad_to_state[0][0], rows.num_steps * kLanes, Real{0});
    std::fill_n(&block.grad_from_state[0][0], rows.num_steps * kLanes, Real{0});
    for (std::int64_t first = 0; first < rows.num_channels; first += kLanes) {
      recompute_states(rows, tile, block, s, first);
      scan_block_backward(rows, gradients, tile, block, s, first);
    }
    for (std::int64_t t = 0; t < rows.num_steps; ++t) {
      gradients.grad_to_state[t * 2 * rows.num_states + s] += total(block.grad_to_state[t]);
      gradients.grad_from_state[t * 2 * rows.num_states + s] += total(block.grad_from_state[t]);
    }
  }
  unpack(rows, gradients, tile);
}

template <>
HALFBACK_FOR_EACH_CPU void convolution(const ConvolutionRows<Real>& rows) {
  Real sums[kConvolutionChannels];
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    convolve(rows, t, sums);
    Real* __restrict output = rows.output + t * rows.output_row;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      output[i] = sums[i] * logistic(sums[i]);
    }
  }
}

template <>
HALFBACK_FOR_EACH_CPU void convolution_backward(const ConvolutionRows<Real>& rows,
                                                Real* grad_weight,
                                                Real* __restrict grad_bias) {
  Real sums[kConvolutionChannels];
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    convolve(rows, t, sums);
    Real* __restrict g = rows.output + t * rows.output_row;
    for (std::int64_t i = 0; i < rows.num_channels; ++i) {
      const Real sigmoid = logistic(sums[i]);
      g[i] *= sigmoid * (Real{1} + sums[i] * (Real{1} - sigmoid));
      grad_bias[i] += g[i];
    }
    convolution_backward_weight(rows, t, g, grad_weight);
  }
  for (std::int64_t t = 0; t < rows.num_steps; ++t) {
    convolution_backward_input(rows, t);
  }
}

}  // namespace halfback::kernels::rows
