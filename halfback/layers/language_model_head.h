// The end of a language model: logits = W RMSNorm(x), loss = -sum of log softmax(logits)[target].
//
// With M = N x T rows, C channels, V vocabulary:
//   F  keeps until I: x [M, C], the inverse RMS [M]; until W: the memory of the logits [M, V].
//   I  turns the log-probabilities into the gradient of the logits in place, and recomputes the
//      normed rows [M, C].
//   W  reads those two.
#pragma once

#include "halfback/layers/layer.h"
#include "halfback/layers/rms_norm.h"

namespace halfback {

class LanguageModelHead : public LossLayer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t vocabulary = 0;
    double epsilon = 1e-5;
    double standard_deviation = 0.02;
    std::string norm_name = "model.norm";
    std::string weight_name = "lm_head.weight";
    bool is_tied = false;  // the matrix is a copy of the parameter of that name
  };
  explicit LanguageModelHead(const Options& options);

  std::vector<Parameter*> parameters() override;
  double forward(const at::Tensor& input,
                 const at::Tensor& targets,
                 Saved& saved,
                 const Call& call) override;
  at::Tensor backward_input(double scale, Saved& saved, const Call& call) override;
  std::int64_t num_correct(const Saved& saved) const override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;
  Parameter* output_matrix() override { return &weight_; }

  // Returns the logits [N, T, V] of activations [N, T, C].
  at::Tensor logits(const at::Tensor& input) const;

 private:
  Options options_;
  RmsNorm norm_;
  Parameter weight_;
};

}  // namespace halfback
