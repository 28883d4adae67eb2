// The attention half of a LLaMA block: x + W_o attention(rope(W_qkv n)), n = RMSNorm(x). Causal;
// H query heads share K key/value heads (grouped-query attention).
// Source: Ainslie et al., "GQA", arXiv:2305.13245.
//
// With M = N x T rows, C channels, head size D (default: C / H), Q = (H + 2K) D:
//   F  keeps until I: x [M, C], the inverse RMS [M], the log-sum-exp [N, H, T]; until W: the
//      attention's output [M, H D] and the memory of rotated q, k, v [M, Q].
//   I  writes the gradient of q, k, v over q, k, v, and recomputes n.
//   W  reads n, that gradient, the attention's output and g.
#pragma once

#include "halfback/layers/layer.h"
#include "halfback/layers/rms_norm.h"
#include "halfback/layers/rotary.h"

namespace halfback {

class Attention : public OneTensorLayer {
 public:
  struct Options {
    std::int64_t num_channels = 0;
    std::int64_t num_heads = 0;
    std::int64_t num_key_value_heads = 0;
    std::int64_t head_size = 0;   // 0: num_channels / num_heads
    bool has_input_bias = false;  // for queries, keys and values
    bool has_output_bias = false;
    double epsilon = 1e-5;
    double standard_deviation = 0.02;
    double output_standard_deviation = 0.02;
    RotaryAngles angles;  // shared by all layers, for the longest sequence
  };
  // Parameters are named PREFIX.input_layernorm and PREFIX.self_attn..., as in Hugging Face;
  // queries, keys and values are one matrix here.
  Attention(const std::string& prefix, const Options& options);

  std::vector<Parameter*> parameters() override;
  std::vector<at::Tensor*> buffers() override;
  // With a carry, it keeps nothing for a backward: that is for generation. The carry holds keys and
  // values [N, K, length, D] of the positions seen so far. T is 1 unless the carry is empty.
  at::Tensor forward(const at::Tensor& input, Saved& saved, const Call& call) override;
  at::Tensor backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) override;
  void backward_weight(std::span<Saved*> saved) override;
  SavedBytes saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const override;
  Flops flops(const Shape& input_shape) const override;

 private:
  at::Tensor extend(const at::Tensor& input, Carry& carry);
  std::int64_t num_packed_heads() const {
    return options_.num_heads + 2 * options_.num_key_value_heads;
  }
  // Returns the rotated heads [N, T, H + 2K, D] of normed rows.
  at::Tensor project(const at::Tensor& normed, at::IntArrayRef sizes, std::int64_t first_position);
  // Returns `count` heads from `first` on, as a view [N, count, T, D].
  static at::Tensor heads_of(const at::Tensor& packed, std::int64_t first, std::int64_t count);

  // Returns x + W_o a (+ b_o) for attended rows a.
  at::Tensor add_output(const at::Tensor& rows, const at::Tensor& x) const;

  Options options_;
  RmsNorm norm_;
  Parameter query_key_value_;
  Parameter query_key_value_bias_;
  Parameter output_;
  Parameter output_bias_;
};

}  // namespace halfback
