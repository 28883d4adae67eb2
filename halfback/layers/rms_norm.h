// y = x / sqrt(mean(x^2) + epsilon) * weight, over the last dimension C. Keeps the inverse RMS.
// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467.
#pragma once

#include "halfback/layers/norm.h"

namespace halfback {

class RmsNorm final : public Norm {
 public:
  RmsNorm(const std::string& name, std::int64_t num_channels, double epsilon);

  std::vector<Parameter*> parameters() override { return {&weight_}; }
  Normed normalize(const at::Tensor& rows) const override;
  Gradients backward(Backward arguments) const override;
  void accumulate_gradients(const at::Tensor& parameters) override;
  std::int64_t num_statistics() const override { return 1; }
  std::int64_t num_parameters() const override { return 1; }

 private:
  Parameter weight_;
  double epsilon_;
};

}  // namespace halfback
