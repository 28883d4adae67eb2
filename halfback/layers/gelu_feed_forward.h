// The feed-forward of BERT: W_2 gelu(W_1 x + b_1) + b_2, with the exact GELU.
// Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415.
//
// With M = N x T rows, C channels, F hidden:
//   F  keeps until W: x [M, C] and the memory of h = W_1 x + b_1 [M, F].
//   I  computes the gradient of h, which it keeps with g, and then writes gelu(h) over h.
//   W  reads x, gelu(h), the gradient of h and g.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class GeluFeedForward final : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t hidden = 0;
    double standard_deviation = 0.02;
  };
  // Parameters are named PREFIX.intermediate.dense... and PREFIX.output.dense..., as in Hugging
  // Face.
  GeluFeedForward(const std::string& prefix, const Options& options);

  std::vector<Parameter*> parameters() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;

 private:
  Options options_;
  Parameter up_;
  Parameter up_bias_;
  Parameter down_;
  Parameter down_bias_;
};

}  // namespace halfback
