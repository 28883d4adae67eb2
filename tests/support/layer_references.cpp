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
  const bool has_bias = values.size() > 3;
  const at::Tensor normed = norm_reference(x, values[0], epsilon);
  at::Tensor both = at::matmul(normed, values[1].t());
  both = has_bias ? both + values[2] : both;
  const std::vector<at::Tensor> gate_up = both.chunk(2, -1);
  const at::Tensor down = values[has_bias ? 3 : 2];
  const at::Tensor output = x + at::matmul(at::silu(gate_up[0]) * gate_up[1], down.t());
  return has_bias ? output + values[4] : output;
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
  const std::int64_t head_size =
      options.head_size > 0 ? options.head_size : x.size(2) / options.num_heads;
  const std::int64_t queries = head_size * options.num_heads;
  const std::int64_t keys = head_size * options.num_key_value_heads;
  at::Tensor projected = at::matmul(normed, values[1].t());
  projected = options.has_input_bias ? projected + values[2] : projected;
  const std::vector<at::Tensor> parts = projected.split_with_sizes({queries, keys, keys}, 2);
  const std::int64_t group = options.num_heads / options.num_key_value_heads;
  const at::Tensor query = rotary_reference(split_heads(parts[0], options.num_heads));
  const at::Tensor key = rotary_reference(split_heads(parts[1], options.num_key_value_heads));
  const at::Tensor value = split_heads(parts[2], options.num_key_value_heads);
  const at::Tensor attended =
      causal_attention(query, key.repeat_interleave(group, 1), value.repeat_interleave(group, 1));
  const std::size_t output = options.has_input_bias ? 3 : 2;
  const at::Tensor rows = attended.transpose(1, 2).reshape({x.size(0), x.size(1), queries});
  const at::Tensor sum = x + at::matmul(rows, values[output].t());
  return options.has_output_bias ? sum + values[output + 1] : sum;
}

at::Tensor logits_reference(const Values& values, const at::Tensor& x, double epsilon) {
  return at::matmul(norm_reference(x, values[0], epsilon), values[1].t());
}

namespace {

at::Tensor summed_loss(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor rows = at::log_softmax(logits.view({-1, logits.size(-1)}), 1);
  return at::nll_loss(rows, targets, /*weight=*/{}, at::Reduction::Sum);
}

}  // namespace

at::Tensor head_reference(const Values& values,
                          const at::Tensor& x,
                          const at::Tensor& targets,
                          double epsilon) {
  return summed_loss(logits_reference(values, x, epsilon), targets);
}

at::Tensor shared_head_reference(const Values& values,
                                 const at::Tensor& x,
                                 const at::Tensor& targets,
                                 double epsilon) {
  const at::Tensor logits = logits_reference({values[0], values[3]}, x, epsilon);
  return summed_loss(logits * values[1] + values[2], targets);
}

}  // namespace halfback
