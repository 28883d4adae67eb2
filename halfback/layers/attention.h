// The attention half of a LLaMA block: x + W_o attention(rope(W_qkv n)), n = RMSNorm(x). Causal;
// H query heads share K key/value heads (grouped-query attention).
// Sources: Su et al., "RoFormer" (rotary positions), arXiv:2104.09864; Ainslie et al., "GQA",
// arXiv:2305.13245.
//
// With M = N x T rows, C channels, head size D, Q = (H + 2K) D:
//   F  keeps until I: x [M, C], the inverse RMS [M], the log-sum-exp [N, H, T]; until W: the
//      attention's output [M, C] and the memory of rotated q, k, v [M, Q].
//   I  makes the gradient of q, k, v in the memory of q, k, v, and n anew.
//   W  reads n, that gradient, the attention's output and g.
#pragma once

#include "halfback/layers/layer.h"
#include "halfback/layers/rms_norm.h"

namespace halfback {

// The angles of rotary positions: cosine and sine, each [T, D/2]. Angle of pair i at position t is
// t x theta^(-2i/D).
struct RotaryAngles {
  at::Tensor cosine;
  at::Tensor sine;
};
struct RotaryOptions {
  std::int64_t length = 0;
  std::int64_t head_size = 0;
  double theta = 10000.0;
};
RotaryAngles rotary_angles(const RotaryOptions& options, at::ScalarType dtype);

class Attention : public Layer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t num_heads = 0;
    std::int64_t num_key_value_heads = 0;
    double epsilon = 1e-5;
    double standard_deviation = 0.02;
    double output_standard_deviation = 0.02;
    RotaryAngles angles;  // shared by all layers, as long as the longest sequence
  };
  // Parameters are called PREFIX.input_layernorm and PREFIX.self_attn..., as Hugging Face does;
  // queries, keys and values are one matrix here.
  Attention(const std::string& prefix, const Options& options);

  std::vector<Parameter*> parameters() override;
  std::vector<at::Tensor*> constants() override;
  at::Tensor forward(const at::Tensor& input, Saved& saved) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved) override;
  void backward_weight(Saved& saved) override;
  void backward_weight_concatenated(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(std::span<const std::int64_t> input_shape,
                         std::int64_t element_bytes) const override;
  std::vector<std::int64_t> output_shape(std::span<const std::int64_t> input_shape) const override;

  // Keys and values of the positions seen so far, [N, K, length, D] each; for generation.
  struct Cache {
    at::Tensor keys;
    at::Tensor values;
  };
  // Returns the output [N, T, C] for T new positions and appends them to the cache. T is 1 unless
  // the cache is empty.
  at::Tensor extend(const at::Tensor& input, Cache& cache);

 private:
  std::int64_t head_size() const { return options_.num_channels / options_.num_heads; }
  std::int64_t num_packed_heads() const {
    return options_.num_heads + 2 * options_.num_key_value_heads;
  }
  // Returns rotated heads [N, T, H + 2K, D] of normed rows.
  at::Tensor project(const at::Tensor& normed, at::IntArrayRef sizes, std::int64_t first_position);
  // Returns `count` of the heads from `first`, as [N, count, T, D]. No copy.
  static at::Tensor heads_of(const at::Tensor& packed, std::int64_t first, std::int64_t count);

  Options options_;
  RmsNorm norm_;
  Parameter query_key_value_;
  Parameter output_;
};

}  // namespace halfback
