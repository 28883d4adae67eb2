// softmax(q k^T / sqrt(D)) v and its backward, which reads the logarithm of each row's sum instead
// of the probabilities. On the CPU, ATen's fused kernels compute them.
//
// On other devices, matrix products do, with a T x T array for each head within one call: the fused
// kernels there add gradients in order of arrival, and keep tensors of other sizes. What is kept is
// the same on all devices. Source: Dao et al., "FlashAttention", arXiv:2205.14135.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

namespace halfback {

// H query heads share K key/value heads, H / K neighbors each. Dense in the last dimension.
struct ScaledDotProduct {
  at::Tensor query;                     // [N, H, T, D]
  at::Tensor key;                       // [N, K, T', D]
  at::Tensor value;                     // [N, K, T', D]
  bool is_causal = false;               // no position sees later ones; T' = T
  std::optional<at::Tensor> mask = {};  // added to the scores, as [N, 1, T, T']
};

struct Attended {
  at::Tensor output;       // [N, H, T, D], in memory [N, T, H, D]
  at::Tensor log_sum_exp;  // [N, H, T]
};
Attended attend(const ScaledDotProduct& arguments);

struct AttendBackward {
  at::Tensor grad_output;  // as output
  at::Tensor output;
  at::Tensor log_sum_exp;
};
struct AttentionGradients {
  at::Tensor query;
  at::Tensor key;
  at::Tensor value;
};
AttentionGradients attend_backward(const ScaledDotProduct& arguments,
                                   const AttendBackward& backward);

// The same with matrix products, on any device.
namespace generic {
Attended attend(const ScaledDotProduct& arguments);
AttentionGradients attend_backward(const ScaledDotProduct& arguments,
                                   const AttendBackward& backward);
}  // namespace generic

}  // namespace halfback
