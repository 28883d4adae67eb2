// y = x W^T + b, on the last dimension.
//
//   F  x [..., in] -> y [..., out]; keeps x until W.
//   I  grad_x = g W; keeps g until W.
//   W  grad_W += g^T x, grad_b += sum of g over rows.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

struct LinearOptions {
  std::int64_t num_inputs = 0;
  std::int64_t num_outputs = 0;
  bool has_bias = false;
  double standard_deviation = 0.02;  // of the initial weight; the bias starts at 0
  bool has_data_input = false;       // first of a model: x is the mini-batch's, I has no result
};

class Linear : public OneTensorLayer {
 public:
  Linear(const std::string& name, const LinearOptions& options);

  std::vector<Parameter*> parameters() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;
  Shape output_shape(const Shape& input_shape) const override;

 private:
  LinearOptions options_;
  Parameter weight_;
  Parameter bias_;
};

}  // namespace halfback
