// Token ids [N, T] to word + position + segment embeddings [N, T, C]; the segment is 0 throughout.
// Positions are learned, or the fixed sines and cosines of Vaswani et al., arXiv:1706.03762.
//
//   F  keeps nothing of its own; the ids belong to the mini-batch.
//   I  has no input gradient; keeps g until W.
//   W  adds g by id, by position and altogether to the three tables.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class BertEmbedding final : public Layer {
 public:
  struct Options {
    std::int64_t vocabulary = 0;
    std::int64_t num_channels = 0;
    std::int64_t num_positions = 0;  // the longest sequence
    std::int64_t num_segments = 2;
    bool has_sinusoid_positions = false;
    double standard_deviation = 0.02;
  };
  // Parameters are called PREFIX.word_embeddings.weight and so on, as Hugging Face does.
  BertEmbedding(const std::string& prefix, const Options& options, at::ScalarType dtype);

  std::vector<Parameter*> parameters() override;
  std::vector<at::Tensor*> constants() override;
  at::Tensor forward(const at::Tensor& ids, Saved& saved) override;
  // Returns an undefined tensor.
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved) override;
  void backward_weight(Saved& saved) override;
  SavedBytes saved_bytes(std::span<const std::int64_t> input_shape,
                         std::int64_t element_bytes) const override;
  std::vector<std::int64_t> output_shape(std::span<const std::int64_t> input_shape) const override;

 private:
  Options options_;
  Parameter words_;
  Parameter positions_;
  Parameter segments_;
  at::Tensor sinusoids_;  // instead of learned positions
};

}  // namespace halfback
