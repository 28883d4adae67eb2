// y = (x - mean) / sqrt(variance + epsilon) * weight + bias, over the last dimension C. Keeps mean
// and inverse deviation of each row.
// Source: Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450.
#pragma once

#include "halfback/layers/norm.h"

namespace halfback {

class LayerNorm final : public Norm {
 public:
  LayerNorm(const std::string& name, std::int64_t num_channels, double epsilon);

  std::vector<Parameter*> parameters() override { return {&weight_, &bias_}; }
  Normed normalize(const at::Tensor& rows) const override;
  Gradients backward(Backward arguments) const override;
  void accumulate_gradients(const at::Tensor& parameters) override;
  std::int64_t num_statistics() const override { return 2; }
  std::int64_t num_parameters() const override { return 2; }

 private:
  Parameter weight_;
  Parameter bias_;
  double epsilon_;
};

}  // namespace halfback
