// The feed-forward half of a LLaMA block: x + W_down (silu(W_gate n) * W_up n), n = RMSNorm(x).
// Source: Shazeer, "GLU Variants Improve Transformer", arXiv:2002.05202.
//
// With M = N x T rows, C channels, F hidden:
//   F  keeps until I: x [M, C], the inverse RMS [M]; until W: the memory of gate and up [M, 2F].
//   I  writes the gradients of gate and up over gate and up. It recomputes n [M, C] and the gated
//      product [M, F], which W reads, in passes that read their sources anyway.
//   W  reads n, the two gradients, the product and g.
#pragma once

#include "halfback/layers/layer.h"
#include "halfback/layers/rms_norm.h"

namespace halfback {

class FeedForward : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t hidden = 0;
    bool has_bias = false;  // of all three products
    double epsilon = 1e-5;
    double standard_deviation = 0.02;
    double output_standard_deviation = 0.02;
  };
  // Parameters are named PREFIX.post_attention_layernorm and PREFIX.mlp..., as in Hugging Face;
  // gate and up are one matrix here.
  FeedForward(const std::string& prefix, const Options& options);

  std::vector<Parameter*> parameters() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;

 private:
  Options options_;
  RmsNorm norm_;
  Parameter gate_up_;
  Parameter gate_up_bias_;
  Parameter down_;
  Parameter down_bias_;
};

}  // namespace halfback
