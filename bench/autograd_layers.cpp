#include "bench/autograd_layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/silu.h>

namespace halfback::bench {

namespace {

constexpr double kEpsilon = 1e-5;

at::Tensor norm(const at::Tensor& x, const at::Tensor& weight) {
  return at::rms_norm(x, x.sizes().slice(x.dim() - 1), weight, kEpsilon);
}

at::Tensor rotate(const at::Tensor& heads, const Rotation& rotation) {
  const std::vector<at::Tensor> halves = heads.chunk(2, -1);
  return heads * rotation.cosine + at::cat({-halves[1], halves[0]}, -1) * rotation.sine;
}

}  // namespace

at::Tensor autograd_linear(const Values& values, const at::Tensor& x) {
  return at::linear(x, values[0]);
}

at::Tensor autograd_norm(const Values& values, const at::Tensor& x) { return norm(x, values[0]); }

at::Tensor autograd_embedding(const Values& values, const at::Tensor& ids) {
  return at::embedding(values[0], ids);
}

at::Tensor autograd_feed_forward(const Values& values, const at::Tensor& x) {
  const std::vector<at::Tensor> gate_up = at::linear(norm(x, values[0]), values[1]).chunk(2, -1);
  return x + at::linear(at::silu(gate_up[0]) * gate_up[1], values[2]);
}

at::Tensor autograd_attention(const Values& values, const at::Tensor& x, const Rotation& rotation) {
  const std::int64_t head_size = rotation.cosine.size(1);
  const at::Tensor packed = at::linear(norm(x, values[0]), values[1]);
  const std::vector<at::Tensor> heads =
      packed.view({x.size(0), x.size(1), -1, head_size}).transpose(1, 2).chunk(3, 1);
  const at::Tensor attended = at::scaled_dot_product_attention(rotate(heads[0], rotation),
                                                               rotate(heads[1], rotation), heads[2],
                                                               /*attn_mask=*/{},
                                                               /*dropout_p=*/0.0,
                                                               /*is_causal=*/true);
  return x + at::linear(attended.transpose(1, 2).reshape(x.sizes()), values[2]);
}

at::Tensor autograd_head(const Values& values, const at::Tensor& x, const at::Tensor& targets) {
  const at::Tensor logits = at::linear(norm(x, values[0]), values[1]);
  return at::cross_entropy_loss(logits.flatten(0, 1), targets.flatten(), {}, at::Reduction::Sum);
}

}  // namespace halfback::bench
