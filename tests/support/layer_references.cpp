#include "tests/support/layer_references.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <limits>

namespace halfback {

namespace {

// [N, T, H x D] to [N, H, T, D].
at::Tensor split_heads(const at::Tensor& rows, std::int64_t num_heads) {
  return rows.view({rows.size(0), rows.size(1), num_heads, -1}).transpose(1, 2);
}

at::Tensor causal_attention(const at::Tensor& query,
                            const at::Tensor& key,
                            const at::Tensor& value) {
  const std::int64_t length = query.size(2);
  const at::Tensor future =
      at::ones({length, length}, at::TensorOptions(at::kBool)).triu(/*diagonal=*/1);
  const double scale = 1.0 / std::sqrt(static_cast<double>(query.size(3)));
  const at::Tensor scores = at::matmul(query, key.transpose(2, 3)) * scale;
  const double minus_infinity = -std::numeric_limits<double>::infinity();
  return at::matmul(at::softmax(scores.masked_fill(future, minus_infinity), -1), value);
}

}  // namespace

at::Tensor linear_reference(const Values& values, const at::Tensor& x) {
  const at::Tensor product = at::matmul(x, values[0].t());
  return values.size() > 1 ? product + values[1] : product;
}

at::Tensor norm_reference(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x / at::sqrt(at::mean(x * x, -1, /*keepdim=*/true) + epsilon) * weight;
}

at::Tensor embedding_reference(const Values& values, const at::Tensor& ids) {
  return at::embedding(values[0], ids);
}

at::Tensor feed_forward_reference(const Values& values, const at::Tensor& x, double epsilon) {
  const at::Tensor normed = norm_reference(x, values[0], epsilon);
  const std::vector<at::Tensor> gate_up = at::matmul(normed, values[1].t()).chunk(2, -1);
  return x + at::matmul(at::silu(gate_up[0]) * gate_up[1], values[2].t());
}

at::Tensor rotary_reference(const at::Tensor& heads) {
  constexpr double kTheta = 10000.0;
  const std::int64_t length = heads.size(2);
  const std::int64_t size = heads.size(3);
  at::Tensor angles = at::empty({length, size / 2}, at::TensorOptions(at::kDouble));
  for (std::int64_t position = 0; position < length; ++position) {
    for (std::int64_t pair = 0; pair < size / 2; ++pair) {
      const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(size);
      angles[position][pair] = static_cast<double>(position) * std::pow(kTheta, exponent);
    }
  }
  const at::Tensor cosine = angles.cos().to(heads.scalar_type());
  const at::Tensor sine = angles.sin().to(heads.scalar_type());
  const at::Tensor a = heads.narrow(3, 0, size / 2);
  const at::Tensor b = heads.narrow(3, size / 2, size / 2);
  return at::cat({a * cosine - b * sine, b * cosine + a * sine}, 3);
}

at::Tensor attention_reference(const Values& values,
                               const at::Tensor& x,
                               const AttentionReference& options) {
  const at::Tensor normed = norm_reference(x, values[0], options.epsilon);
  const std::int64_t channels = x.size(2);
  const std::int64_t keys = channels / options.num_heads * options.num_key_value_heads;
  const std::vector<at::Tensor> weights = values[1].split_with_sizes({channels, keys, keys}, 0);
  const auto project = [&](std::size_t i, std::int64_t num_heads) {
    return split_heads(at::matmul(normed, weights[i].t()), num_heads);
  };
  const std::int64_t group = options.num_heads / options.num_key_value_heads;
  const at::Tensor query = rotary_reference(project(0, options.num_heads));
  const at::Tensor key = rotary_reference(project(1, options.num_key_value_heads));
  const at::Tensor value = project(2, options.num_key_value_heads);
  const at::Tensor attended =
      causal_attention(query, key.repeat_interleave(group, 1), value.repeat_interleave(group, 1));
  return x + at::matmul(attended.transpose(1, 2).reshape(x.sizes()), values[2].t());
}

at::Tensor logits_reference(const Values& values, const at::Tensor& x, double epsilon) {
  return at::matmul(norm_reference(x, values[0], epsilon), values[1].t());
}

at::Tensor head_reference(const Values& values,
                          const at::Tensor& x,
                          const at::Tensor& targets,
                          double epsilon) {
  const at::Tensor logits = logits_reference(values, x, epsilon);
  const at::Tensor rows = at::log_softmax(logits.view({-1, logits.size(-1)}), 1);
  return at::nll_loss(rows, targets, /*weight=*/{}, at::Reduction::Sum);
}

}  // namespace halfback
