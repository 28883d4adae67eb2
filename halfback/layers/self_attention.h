// Attention over all positions, as in BERT: W_o attention(W_qkv x + b_qkv) + b_o. An optional side
// input is an integer mask [N, T], 0 at padding positions, which are not attended to.
// Sources: Vaswani et al., arXiv:1706.03762; Devlin et al., "BERT", arXiv:1810.04805.
//
// With M = N x T rows, C channels, H heads:
//   F  keeps until I: the log-sum-exp [N, H, T] and the mask; until W: x, the attention's output
//      [M, C] and the memory of q, k, v [M, 3C].
//   I  writes the gradient of q, k, v over q, k, v; keeps g.
//   W  reads x, that gradient, the attention's output and g.
#pragma once

#include "halfback/layers/layer.h"

namespace halfback {

class SelfAttention final : public Layer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t num_heads = 0;
    double standard_deviation = 0.02;
  };
  // Parameters are named PREFIX.self.query..., PREFIX.output.dense..., as in Hugging Face; queries,
  // keys and values are one matrix here.
  SelfAttention(const std::string& prefix, const Options& options);

  std::vector<Parameter*> parameters() override;
  Tensors forward(Tensors inputs, Saved& saved, const Call& call) override;
  Tensors backward_input(Tensors grad_outputs, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  Described describe(std::vector<Shape> shapes, std::int64_t element_bytes) const override;

 private:
  Options options_;
  Parameter query_key_value_;
  Parameter query_key_value_bias_;
  Parameter output_;
  Parameter output_bias_;
};

}  // namespace halfback
