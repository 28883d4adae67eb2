#include "halfback/layers/attention.h"

#include "halfback/base/error.h"
#include "halfback/kernels/rows.h"
#include "halfback/kernels/scaled_dot_product.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/cat.h>

#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kInput, kStatistics, kPacked, kLogSumExp };
// Slots of Saved::until_weight; F fills the first, I the rest.
enum { kAttended, kNormed, kGradPacked, kGradOutput, kGradNorm };
// Slots of Carry::state.
enum { kKeys, kValues };

}  // namespace

Attention::Attention(const std::string& prefix, const Options& options)
    : options_(options), norm_(prefix + ".input_layernorm", options.num_channels, options.epsilon) {
  if (options_.head_size == 0) {
    options_.head_size = options.num_channels / options.num_heads;
  }
  const std::string place = prefix + ".self_attn.";
  const std::int64_t queries = options.num_heads * options_.head_size;
  const std::int64_t keys = options.num_key_value_heads * options_.head_size;
  const std::int64_t all = queries + 2 * keys;
  const auto rows_of = [&](const std::string& end) -> std::vector<NamedRows> {
    return {{place + "q_proj" + end, 0, queries},
            {place + "k_proj" + end, queries, queries + keys},
            {place + "v_proj" + end, queries + keys, all}};
  };
  query_key_value_ = {.name = place + "qkv_proj.weight",
                      .shape = {all, options.num_channels},
                      .init = {.standard_deviation = options.standard_deviation},
                      .checkpoint_rows = rows_of(".weight")};
  query_key_value_bias_ = bias_parameter(place + "qkv_proj.bias", all, rows_of(".bias"));
  output_ = {.name = place + "o_proj.weight",
             .shape = {options.num_channels, queries},
             .init = {.standard_deviation = options.output_standard_deviation}};
  output_bias_ = bias_parameter(place + "o_proj.bias", options.num_channels);
}

std::vector<Parameter*> Attention::parameters() {
  std::vector<Parameter*> all = {norm_.parameters().front(), &query_key_value_};
  if (options_.has_input_bias) {
    all.push_back(&query_key_value_bias_);
  }
  all.push_back(&output_);
  if (options_.has_output_bias) {
    all.push_back(&output_bias_);
  }
  return all;
}

std::vector<at::Tensor*> Attention::buffers() {
  return {&options_.angles.cosine, &options_.angles.sine};
}

at::Tensor Attention::heads_of(const at::Tensor& packed, std::int64_t first, std::int64_t count) {
  return packed.narrow(2, first, count).transpose(1, 2);
}

at::Tensor Attention::project(const at::Tensor& normed,
                              at::IntArrayRef sizes,
                              std::int64_t first_position) {
  at::Tensor packed = product(normed, query_key_value_, query_key_value_bias_.value)
                          .view({sizes[0], sizes[1], num_packed_heads(), options_.head_size});
  kernels::rotate_heads(packed, options_.num_heads + options_.num_key_value_heads,
                        options_.angles.cosine, options_.angles.sine, first_position);
  return packed;
}

at::Tensor Attention::add_output(const at::Tensor& rows, const at::Tensor& x) const {
  at::Tensor sum = product(rows, output_, x);
  return output_bias_.value.defined() ? sum.add_(output_bias_.value) : sum;
}

at::Tensor Attention::forward(const at::Tensor& input, Saved& saved, const Call& call) {
  if (call.carry != nullptr) {
    HALFBACK_CHECK(!call.is_training, "attention trains on whole sequences");
    return extend(input, *call.carry);
  }
  const at::Tensor x = as_rows(input);
  const Norm::Normed normed = norm_.normalize(x);
  const at::Tensor packed = project(normed.output, input.sizes(), 0);
  const std::int64_t heads = options_.num_heads;
  const std::int64_t pairs = options_.num_key_value_heads;
  const auto [attended, log_sum_exp] = attend({.query = heads_of(packed, 0, heads),
                                               .key = heads_of(packed, heads, pairs),
                                               .value = heads_of(packed, heads + pairs, pairs),
                                               .is_causal = true});
  saved.until_input = {input, normed.statistics, packed, log_sum_exp};
  // The kernel's output is [N, T, H, D] in memory.
  const at::Tensor rows = attended.transpose(1, 2).reshape({x.size(0), heads * options_.head_size});
  saved.until_weight = {rows};
  return add_output(rows, x).view(input.sizes());
}

at::Tensor Attention::backward_input(const at::Tensor& grad_output,
                                     Saved& saved,
                                     const Call& /*call*/) {
  const std::int64_t heads = options_.num_heads;
  const std::int64_t pairs = options_.num_key_value_heads;
  const at::Tensor g = as_rows(grad_output);
  at::Tensor packed = std::move(saved.until_input[kPacked]);
  const auto by_head = [&](const at::Tensor& rows) {
    return rows.view({packed.size(0), packed.size(1), heads, options_.head_size}).transpose(1, 2);
  };
  auto [grad_query, grad_key, grad_value] =
      attend_backward({.query = heads_of(packed, 0, heads),
                       .key = heads_of(packed, heads, pairs),
                       .value = heads_of(packed, heads + pairs, pairs),
                       .is_causal = true},
                      {.grad_output = by_head(product_backward_input(g, output_)),
                       .output = by_head(saved.until_weight[kAttended]),
                       .log_sum_exp = saved.until_input[kLogSumExp]});
  kernels::write_head_gradient(
      {.gradient = grad_query, .cosine = &options_.angles.cosine, .sine = &options_.angles.sine},
      packed);
  kernels::write_head_gradient({.gradient = grad_key,
                                .first_head = heads,
                                .cosine = &options_.angles.cosine,
                                .sine = &options_.angles.sine},
                               packed);
  kernels::write_head_gradient({.gradient = grad_value, .first_head = heads + pairs}, packed);
  grad_query.reset();
  grad_key.reset();
  grad_value.reset();

  const at::Tensor grad_packed = packed.view({g.size(0), num_packed_heads() * options_.head_size});
  Norm::Gradients norm =
      norm_.backward({.rows = as_rows(saved.until_input[kInput]),
                      .statistics = saved.until_input[kStatistics],
                      .grad_output = product_backward_input(grad_packed, query_key_value_),
                      .residual = g});
  saved.until_input.clear();
  saved.until_weight.insert(saved.until_weight.end(),
                            {norm.output, grad_packed, g, norm.parameters});
  return norm.input.view(grad_output.sizes());
}

void Attention::backward_weight(std::span<Saved*> saved) {
  affine_backward_weight(take_rows(saved, kGradOutput), take_rows(saved, kAttended), output_,
                         output_bias_);
  affine_backward_weight(take_rows(saved, kGradPacked), take_rows(saved, kNormed), query_key_value_,
                         query_key_value_bias_);
  for (Saved* one : saved) {
    norm_.accumulate_gradients(one->until_weight[kGradNorm]);
    one->until_weight.clear();
  }
}

at::Tensor Attention::extend(const at::Tensor& input, Carry& carry) {
  HALFBACK_CHECK(carry.position == 0 || input.size(1) == 1, "several positions behind others");
  const at::Tensor x = as_rows(input);
  const at::Tensor packed = project(norm_.normalize(x).output, input.sizes(), carry.position);
  const std::int64_t heads = options_.num_heads;
  const std::int64_t pairs = options_.num_key_value_heads;
  const at::Tensor keys = heads_of(packed, heads, pairs);
  const at::Tensor values = heads_of(packed, heads + pairs, pairs);
  const bool is_first = carry.position == 0;
  if (is_first) {
    carry.state = {keys.contiguous(), values.contiguous()};
  } else {
    carry.state = {at::cat({carry.state[kKeys], keys}, 2),
                   at::cat({carry.state[kValues], values}, 2)};
  }
  carry.position += input.size(1);
  const Attended attended = attend({.query = heads_of(packed, 0, heads),
                                    .key = carry.state[kKeys],
                                    .value = carry.state[kValues],
                                    .is_causal = is_first});
  const at::Tensor rows =
      attended.output.transpose(1, 2).reshape({x.size(0), heads * options_.head_size});
  return add_output(rows, x).view(input.sizes());
}

SavedBytes Attention::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t channels = options_.num_channels;
  const std::int64_t rows = numel(input_shape) / channels;
  const std::int64_t attended_and_packed =
      (options_.num_heads + num_packed_heads()) * options_.head_size;
  return {.until_input = rows * (channels + 1 + options_.num_heads) * element_bytes,
          .until_weight = rows * attended_and_packed * element_bytes,
          .gradients = (rows * 2 * channels + channels) * element_bytes};
}

Flops Attention::flops(const Shape& input_shape) const {
  const std::int64_t rows = numel(input_shape) / options_.num_channels;
  Flops flops = product_flops(rows, {&query_key_value_, &output_});
  flops += attention_flops(rows, input_shape[1], options_.num_heads * options_.head_size);
  return flops;
}

}  // namespace halfback
