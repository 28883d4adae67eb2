// y = x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension C.
// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467.
//
//   F  keeps x and the inverse RMS (one number a row) until I.
//   I  reads x and g once for the gradient of x and for this micro-batch's gradient of the weight,
//      which is C numbers: that is all that waits for W.
//   W  adds those.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class RmsNorm : public Layer {
 public:
  RmsNorm(const std::string& name, std::int64_t num_channels, double epsilon);

  std::vector<Parameter*> parameters() override { return {&weight_}; }
  at::Tensor forward(const at::Tensor& input, Saved& saved) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved) override;
  void backward_weight(Saved& saved) override;
  SavedBytes saved_bytes(std::span<const std::int64_t> input_shape,
                         std::int64_t element_bytes) const override;
  std::vector<std::int64_t> output_shape(std::span<const std::int64_t> input_shape) const override;

  // For layers that begin with a norm: the same on rows [M, C] without a Saved.
  struct Normed {
    at::Tensor output;
    at::Tensor inverse_rms;
  };
  Normed normalize(const at::Tensor& rows) const;

  struct Gradients {
    at::Tensor input;   // g's own memory, overwritten
    at::Tensor weight;  // [C]
    at::Tensor output;  // the forward's output, made anew
  };
  // `residual` is added to the gradient of the input.
  Gradients backward(const at::Tensor& rows,
                     const at::Tensor& inverse_rms,
                     at::Tensor grad_output,
                     const at::Tensor& residual) const;

  Parameter& weight() { return weight_; }

 private:
  Parameter weight_;
  double epsilon_;
};

}  // namespace halfback
