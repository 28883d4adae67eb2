#include "halfback/kernels/scaled_dot_product.h"

#include "halfback/kernels/one_mkl_thread.h"

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include <cmath>
#include <limits>

namespace halfback {

namespace {

constexpr double kNoDropout = 0.0;

}  // namespace

namespace generic {

namespace {

// Views queries, or tensors of their shape, with the heads that share a key stacked as rows. A
// product with keys [N, K, T', D] then sums over those heads too.
at::Tensor by_key(const at::Tensor& heads, const at::Tensor& key) {
  return heads.reshape({heads.size(0), key.size(1), -1, heads.size(3)});
}

double scale_of(const ScaledDotProduct& a) {
  return 1.0 / std::sqrt(static_cast<double>(a.query.size(3)));
}

// Returns [N, H, T, T'].
at::Tensor scores(const ScaledDotProduct& a) {
  const std::int64_t length = a.query.size(2);
  at::Tensor all = at::matmul(by_key(a.query, a.key), a.key.transpose(2, 3))
                       .mul_(scale_of(a))
                       .view({a.query.size(0), a.query.size(1), length, a.key.size(2)});
  if (a.is_causal) {
    const at::Tensor later =
        at::ones({length, a.key.size(2)}, all.options().dtype(at::kBool)).triu_(1);
    all.masked_fill_(later, -std::numeric_limits<double>::infinity());
  }
  return a.mask ? all.add_(*a.mask) : all;
}

}  // namespace

Attended attend(const ScaledDotProduct& a) {
  at::Tensor probabilities = scores(a);
  const at::Tensor log_sum_exp = at::logsumexp(probabilities, {3});
  probabilities.sub_(log_sum_exp.unsqueeze(3)).exp_();
  const at::Tensor output = at::matmul(by_key(probabilities, a.key), a.value).view(a.query.sizes());
  return {output.transpose(1, 2).contiguous().transpose(1, 2), log_sum_exp};
}

AttentionGradients attend_backward(const ScaledDotProduct& a, const AttendBackward& b) {
  const at::Tensor probabilities = scores(a).sub_(b.log_sum_exp.unsqueeze(3)).exp_();
  const at::Tensor grad_rows = by_key(b.grad_output, a.key);
  const at::Tensor grad_value = at::matmul(by_key(probabilities, a.key).transpose(2, 3), grad_rows);
  at::Tensor grad_scores =
      at::matmul(grad_rows, a.value.transpose(2, 3)).view(probabilities.sizes());
  grad_scores.sub_(b.grad_output.mul(b.output).sum(3, /*keepdim=*/true))
      .mul_(probabilities)
      .mul_(scale_of(a));
  const at::Tensor grad_score_rows = by_key(grad_scores, a.key);
  return {at::matmul(grad_score_rows, a.key).view(a.query.sizes()),
          at::matmul(grad_score_rows.transpose(2, 3), by_key(a.query, a.key)), grad_value};
}

}  // namespace generic

Attended attend(const ScaledDotProduct& a) {
  if (!a.query.is_cpu()) {
    return generic::attend(a);
  }
  const OneMklThread alone;  // where there is one head of one sample, and so no parallel loop
  auto [output, log_sum_exp] = at::_scaled_dot_product_flash_attention_for_cpu(
      a.query, a.key, a.value, kNoDropout, a.is_causal, a.mask);
  return {output, log_sum_exp};
}

AttentionGradients attend_backward(const ScaledDotProduct& a, const AttendBackward& b) {
  if (!a.query.is_cpu()) {
    return generic::attend_backward(a, b);
  }
  const OneMklThread alone;
  auto [query, key, value] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
      b.grad_output, a.query, a.key, a.value, b.output, b.log_sum_exp, kNoDropout, a.is_causal,
      a.mask);
  return {query, key, value};
}

}  // namespace halfback
