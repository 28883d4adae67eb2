// Token ids [N, T] to rows of a table: output [N, T, C].
//
//   F  keeps nothing of its own; the ids belong to the mini-batch.
//   I  has no input gradient; keeps g until W.
//   W  adds each row of g to the row of its id, in the order of the ids (repeated ids add up).
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class Embedding : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t vocabulary = 0;
    std::int64_t num_channels = 0;
    double standard_deviation = 0.02;
  };
  Embedding(const std::string& name, const Options& options);

  std::vector<Parameter*> parameters() override { return {&table_}; }
  at::Tensor forward(const at::Tensor& ids, Saved& saved, const Call& call) override;
  // Returns an undefined tensor.
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Shape output_shape(const Shape& input_shape) const override;

  // The table, for a head that shares it.
  Parameter& table() { return table_; }

 private:
  Options options_;
  Parameter table_;
};

}  // namespace halfback
