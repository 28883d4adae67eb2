// Token ids [N, T] to word + position + segment embeddings [N, T, C]; the segment is 0 throughout.
// Positions are learned, or the fixed sines and cosines of Vaswani et al., arXiv:1706.03762.
//
//   F  keeps nothing of its own; the ids belong to the mini-batch.
//   I  has no input gradient; keeps g until W.
//   W  adds g to the three tables: by id, by position, and all rows to the segment.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class BertEmbedding final : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t vocabulary = 0;
    std::int64_t num_channels = 0;
    std::int64_t num_positions = 0;  // the longest sequence
    std::int64_t num_segments = 2;
    bool has_sinusoid_positions = false;
    double standard_deviation = 0.02;
  };
  // Parameters are named PREFIX.word_embeddings.weight and so on, as in Hugging Face.
  BertEmbedding(const std::string& prefix, const Options& options, at::ScalarType dtype);

  std::vector<Parameter*> parameters() override;
  std::vector<at::Tensor*> buffers() override;
  at::Tensor forward(const at::Tensor& ids, Saved& saved, const Call& call) override;
  // Returns an undefined tensor.
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Shape output_shape(const Shape& input_shape) const override;

 private:
  Options options_;
  Parameter words_;
  Parameter positions_;
  Parameter segments_;
  at::Tensor sinusoids_;  // instead of learned positions
};

}  // namespace halfback
