#include "halfback/layers/self_attention.h"

#include "halfback/kernels/rows.h"
#include "halfback/kernels/scaled_dot_product.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/zeros.h>

#include <limits>
#include <optional>
#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kLogSumExp, kMask };
// Slots of Saved::until_weight; F fills the first three, I the last.
enum { kInput, kAttended, kPacked, kGradOutput };

// Returns the mask that is added to the scores [N, 1, T, T]: 0, or minus infinity for padding.
std::optional<at::Tensor> added_mask(const at::Tensor& mask, at::ScalarType dtype) {
  if (!mask.defined()) {
    return std::nullopt;
  }
  const std::int64_t length = mask.size(1);
  return at::zeros(mask.sizes(), mask.options().dtype(dtype))
      .masked_fill_(mask.eq(0), -std::numeric_limits<double>::infinity())
      .view({mask.size(0), 1, 1, length})
      .expand({mask.size(0), 1, length, length});
}

// Returns heads [N, H, T, D] of part 0 (queries), 1 (keys) or 2 (values) of packed [N, T, 3, H, D].
at::Tensor part_of(const at::Tensor& packed, std::int64_t part) {
  return packed.select(2, part).transpose(1, 2);
}

}  // namespace

SelfAttention::SelfAttention(const std::string& prefix, const Options& options)
    : options_(options),
      output_{.name = prefix + ".output.dense.weight",
              .shape = {options.num_channels, options.num_channels},
              .init = {.standard_deviation = options.standard_deviation}},
      output_bias_(bias_parameter(prefix + ".output.dense.bias", options.num_channels)) {
  const std::int64_t channels = options.num_channels;
  const auto rows_of = [&](const char* end) {
    std::vector<NamedRows> rows;
    for (const char* part : {"query", "key", "value"}) {
      const auto begin = static_cast<std::int64_t>(rows.size()) * channels;
      rows.push_back({prefix + ".self." + part + end, begin, begin + channels});
    }
    return rows;
  };
  query_key_value_ = {.name = prefix + ".self.query_key_value.weight",
                      .shape = {3 * channels, channels},
                      .init = {.standard_deviation = options.standard_deviation},
                      .checkpoint_rows = rows_of(".weight")};
  query_key_value_bias_ =
      bias_parameter(prefix + ".self.query_key_value.bias", 3 * channels, rows_of(".bias"));
}

std::vector<Parameter*> SelfAttention::parameters() {
  return {&query_key_value_, &query_key_value_bias_, &output_, &output_bias_};
}

Tensors SelfAttention::forward(Tensors inputs, Saved& saved, const Call& /*call*/) {
  const at::Tensor input = inputs.front();
  const at::Tensor mask = inputs.size() > 1 ? inputs[1] : at::Tensor();
  const at::Tensor x = as_rows(input);
  const at::Tensor packed = product(x, query_key_value_, query_key_value_bias_.value)
                                .view({input.size(0), input.size(1), 3, options_.num_heads,
                                       options_.num_channels / options_.num_heads});
  const auto [attended, log_sum_exp] = attend({.query = part_of(packed, 0),
                                               .key = part_of(packed, 1),
                                               .value = part_of(packed, 2),
                                               .mask = added_mask(mask, x.scalar_type())});
  // The kernel's output is [N, T, H, D] in memory.
  const at::Tensor rows = attended.transpose(1, 2).reshape({x.size(0), options_.num_channels});
  saved.until_input = {log_sum_exp, mask};
  saved.until_weight = {input, rows, packed};
  inputs.front() = product(rows, output_, output_bias_.value).view(input.sizes());
  return inputs;
}

Tensors SelfAttention::backward_input(Tensors grad_outputs, Saved& saved, const Call& /*call*/) {
  const at::Tensor g = as_rows(grad_outputs.front());
  at::Tensor packed = saved.until_weight[kPacked];
  const auto by_head = [&](const at::Tensor& rows) {
    return rows.view({packed.size(0), packed.size(1), packed.size(3), packed.size(4)})
        .transpose(1, 2);
  };
  const AttentionGradients gradients =
      attend_backward({.query = part_of(packed, 0),
                       .key = part_of(packed, 1),
                       .value = part_of(packed, 2),
                       .mask = added_mask(saved.until_input[kMask], g.scalar_type())},
                      {.grad_output = by_head(product_backward_input(g, output_)),
                       .output = by_head(saved.until_weight[kAttended]),
                       .log_sum_exp = saved.until_input[kLogSumExp]});
  part_of(packed, 0).copy_(gradients.query);
  part_of(packed, 1).copy_(gradients.key);
  part_of(packed, 2).copy_(gradients.value);
  saved.until_input.clear();
  packed = packed.view({g.size(0), 3 * options_.num_channels});
  saved.until_weight[kPacked] = packed;
  saved.until_weight.push_back(g);
  at::Tensor& gradient = grad_outputs.front();
  gradient = product_backward_input(packed, query_key_value_).view(gradient.sizes());
  return grad_outputs;
}

void SelfAttention::backward_weight(std::span<Saved*> saved) {
  affine_backward_weight(take_rows(saved, kGradOutput), take_rows(saved, kAttended), output_,
                         output_bias_);
  affine_backward_weight(take_rows(saved, kPacked), take_rows(saved, kInput), query_key_value_,
                         query_key_value_bias_);
  for (Saved* const one : saved) {
    one->until_weight.clear();
  }
}

Described SelfAttention::describe(std::vector<Shape> shapes, std::int64_t element_bytes) const {
  const std::int64_t channels = options_.num_channels;
  const std::int64_t rows = numel(shapes.front()) / channels;
  Flops flops = product_flops(rows, {&query_key_value_, &output_});
  flops += attention_flops(rows, shapes.front()[1], channels);
  return {.shapes = std::move(shapes),
          .bytes = {.until_input = rows * options_.num_heads * element_bytes,
                    .until_weight = rows * 5 * options_.num_channels * element_bytes,
                    .gradients = rows * options_.num_channels * element_bytes},
          .flops = flops};
}

}  // namespace halfback
