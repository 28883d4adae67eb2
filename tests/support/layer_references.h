// The mathematics of the layers, written plainly with ATen operators, so that autograd
// differentiates it. Slow and obvious: attention is a softmax of all products.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace halfback {

// Parameters are those of the layer in its order.
using Values = std::vector<at::Tensor>;

at::Tensor linear_reference(const Values& values, const at::Tensor& x);
at::Tensor norm_reference(const at::Tensor& x, const at::Tensor& weight, double epsilon);
at::Tensor embedding_reference(const Values& values, const at::Tensor& ids);
at::Tensor feed_forward_reference(const Values& values, const at::Tensor& x, double epsilon);

struct AttentionReference {
  std::int64_t num_heads = 1;
  std::int64_t num_key_value_heads = 1;
  double epsilon = 0.0;
  std::int64_t head_size = 0;  // 0: channels / heads
  bool has_input_bias = false;
  bool has_output_bias = false;
};
at::Tensor attention_reference(const Values& values,
                               const at::Tensor& x,
                               const AttentionReference& options);

// The logits of head_reference.
at::Tensor logits_reference(const Values& values, const at::Tensor& x, double epsilon);
// Returns the summed loss.
at::Tensor head_reference(const Values& values,
                          const at::Tensor& x,
                          const at::Tensor& targets,
                          double epsilon);

// The same of a head that scales its logits and adds a bias; the matrix is the last of its values.
at::Tensor shared_head_reference(const Values& values,
                                 const at::Tensor& x,
                                 const at::Tensor& targets,
                                 double epsilon);

// Rotates [N, H, T, D] by positions 0 .. T - 1.
at::Tensor rotary_reference(const at::Tensor& heads);

}  // namespace halfback
