// A local head that predicts words through a read-only copy E of the model's output matrix:
// logits = s E RMSNorm(x) + b, loss = -sum of log softmax(logits)[target]. The norm, the scale s
// and the bias b are its own.
// Source: SOLO, arXiv:2609.35440.
//
// With M = N x T rows, C channels, V vocabulary:
//   F  keeps until I: x [M, C], the inverse RMS [M], the memory of the logits [M, V].
//   I  turns the log-probabilities into the gradient G of the logits in place. Backward of the norm
//      takes G E, without s. So the gradient of the norm's weight, before s multiplies it, is also
//      what that of s is summed from: 1 + C + V numbers wait for W.
//   W  adds those. E has no gradient, and so nothing as large as the logits waits for W.
#pragma once

#include "halfback/layers/layer.h"
#include "halfback/layers/rms_norm.h"

#include <string>

namespace halfback {

class SharedHead final : public LossLayer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t vocabulary = 0;
    double epsilon = 1e-5;
  };
  // Parameters are named PREFIX.norm.weight, PREFIX.scale, PREFIX.bias and PREFIX.weight, which is
  // E. It is 0 until somebody copies values into it.
  SharedHead(const std::string& prefix, const Options& options);

  std::vector<Parameter*> parameters() override;
  double forward(const at::Tensor& input,
                 const at::Tensor& targets,
                 Saved& saved,
                 const Call& call) override;
  std::int64_t num_correct(const Saved& saved) const override;
  at::Tensor backward_input(double scale, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;
  Parameter* output_matrix() override { return &copy_; }

 private:
  Options options_;
  RmsNorm norm_;
  Parameter scale_;
  Parameter bias_;
  Parameter copy_;
};

}  // namespace halfback
