// A Mamba block: x + W_out (scan(c) * silu(z)), with n = RMSNorm(x), (u, z) = W_in n,
// c = silu(convolution of u); the scan's inputs are (r, B, C) = W_x c and raw = W_dt r + bias.
// Source: Gu and Dao, "Mamba", arXiv:2312.00752, figure 3 and section 3.4.
//
// With M = N x T rows, C channels, E inner channels, S states, R rank of the step, P = R + 2 S:
//   F  keeps until I: x [M, C], the inverse RMS [M], the states at the bounds of chunks; until W:
//      the memory of (u, z) [M, 2E], (r, B, C) [M, P].
//   I  recomputes c, raw and the states between bounds. It writes the gradients of (u, z) over (u,
//      z), that of raw over raw, and the gated output over its gradient. It also makes this
//      micro-batch's gradients of the scan's and the convolution's parameters, which are small.
//   W  adds those, and reads n, g, c, the gated output, (r, B, C) and the gradients of (u, z), raw
//      and (r, B, C) for the four matrices.
#pragma once

#include "halfback/layers/layer.h"
#include "halfback/layers/rms_norm.h"

namespace halfback {

class MambaBlock : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t inner_channels = 0;
    std::int64_t state_size = 16;
    std::int64_t num_taps = 4;  // of the convolution
    std::int64_t step_rank = 1;
    double epsilon = 1e-5;
    double output_scale = 1.0;  // of the initial output matrix; smaller in deep models
  };
  // Parameters are named PREFIX.norm and PREFIX.mixer..., as in Hugging Face.
  MambaBlock(const std::string& prefix, const Options& options);

  std::vector<Parameter*> parameters() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;

 private:
  std::int64_t projected_size() const { return options_.step_rank + 2 * options_.state_size; }
  at::Tensor taps() const;
  at::Tensor convolve(at::Tensor& inner) const;
  at::Tensor raw_step(const at::Tensor& projected) const;
  at::Tensor rate() const;

  struct ScanGradients {
    at::Tensor projected;
    at::Tensor input;       // of the convolution's output, complete
    at::Tensor parameters;  // [S + 2, E]
  };
  ScanGradients scan_backward(const at::Tensor& convolved,
                              at::Tensor& step,
                              at::Tensor& gated,
                              Saved& saved) const;

  Options options_;
  RmsNorm norm_;
  Parameter in_;
  Parameter taps_;
  Parameter taps_bias_;
  Parameter project_;
  Parameter step_;
  Parameter step_bias_;
  Parameter log_rate_;
  Parameter skip_;
  Parameter out_;
};

}  // namespace halfback
