// The end of a classifier: logits = W x + b, loss = -sum of log softmax(logits)[target].
//
// With M samples, C channels, K classes:
//   F  x [M, C], targets [M] -> the summed loss; keeps until W: x, and the memory of the logits
//      [M, K].
//   I  turns the log-probabilities into the gradient of the logits in place.
//   W  grad_W += g^T x, grad_b += sum of g over samples.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class ClassifierHead : public LossLayer {
 public:
  // The initial weight is normal with variance 1 / (3 C), that of torch's Linear; the bias is 0.
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t num_classes = 0;
  };
  ClassifierHead(const std::string& name, const Options& options);

  std::vector<Parameter*> parameters() override { return {&weight_, &bias_}; }
  double forward(const at::Tensor& input,
                 const at::Tensor& targets,
                 Saved& saved,
                 const Call& call) override;
  std::int64_t num_correct(const Saved& saved) const override;
  at::Tensor backward_input(double scale, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;

  // Returns the logits [M, K].
  at::Tensor logits(const at::Tensor& input) const;

 private:
  Options options_;
  Parameter weight_;
  Parameter bias_;
};

}  // namespace halfback
