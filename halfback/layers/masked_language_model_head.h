// The end of BERT in training, inside a MaskedLoss: predicts tokens from their activations.
// logits = E norm(gelu(W x + b)) + c, where E is a copy of the word embedding.
// Source: Devlin et al., "BERT", arXiv:1810.04805.
//
// With R rows, C channels, V vocabulary:
//   F  keeps until I: the targets, h = W x + b [R, C], the norm's statistics; until W: x [R, C],
//      the memory of the logits [R, V].
//   I  turns the log-probabilities into the gradient of the logits in place; makes the normed rows
//      and the gradient of h.
//   W  reads those and x.
#pragma once

#include "halfback/layers/norm.h"

#include <memory>

namespace halfback {

class MaskedLanguageModelHead final : public LossLayer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t vocabulary = 0;
    double standard_deviation = 0.02;
    std::string embedding_name;  // of the parameter that E copies
  };
  // Parameters are named PREFIX.transform.dense... and PREFIX.bias; `norm` brings its own names.
  MaskedLanguageModelHead(const std::string& prefix,
                          const Options& options,
                          std::unique_ptr<Norm> norm);

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
  Parameter* output_matrix() override { return &words_; }

  // Returns the logits [N, T, V] of activations [N, T, C].
  at::Tensor logits(const at::Tensor& input) const;

 private:
  Options options_;
  std::unique_ptr<Norm> norm_;
  Parameter transform_;
  Parameter transform_bias_;
  Parameter words_;
  Parameter bias_;
};

}  // namespace halfback
