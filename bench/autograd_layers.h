// The mathematics of the layers as a user of libtorch writes it for autograd, with fused operators
// where ATen has them. halfback_split_cost compares against these.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace halfback::bench {

// Parameters are the layer's, in its order and layout; x is [N, T, C].
using Values = std::vector<at::Tensor>;

at::Tensor autograd_linear(const Values& values, const at::Tensor& x);
at::Tensor autograd_norm(const Values& values, const at::Tensor& x);
at::Tensor autograd_embedding(const Values& values, const at::Tensor& ids);
at::Tensor autograd_feed_forward(const Values& values, const at::Tensor& x);

// Cosine and sine are [T, D], with each angle twice.
struct Rotation {
  at::Tensor cosine;
  at::Tensor sine;
};
at::Tensor autograd_attention(const Values& values, const at::Tensor& x, const Rotation& rotation);

// ATen has no selective scan, so Halfback's kernels replace it, as one autograd function.
at::Tensor autograd_mamba(const Values& values, const at::Tensor& x);

// A block with layer norms, biases and GELU, for AutogradLayer: norm, query/key/value, output,
// norm, up, down, each weight before its bias.
at::Tensor autograd_block(const Values& values, const at::Tensor& x, std::int64_t heads);

// A block of BERT: query/key/value, output, norm, up, down, norm, each weight before its bias.
at::Tensor autograd_bert_block(const Values& values, const at::Tensor& x, std::int64_t heads);

// Three convolutions, each with a batch norm, around a shortcut; x is [N, C, H, W].
at::Tensor autograd_bottleneck(const Values& values, const at::Tensor& x);

// Returns the summed loss.
at::Tensor autograd_head(const Values& values, const at::Tensor& x, const at::Tensor& targets);

}  // namespace halfback::bench
