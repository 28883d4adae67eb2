#include "halfback/layers/feed_forward.h"

#include "halfback/kernels/rows.h"
#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/empty.h>

#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kInput, kStatistics, kGateUp };
// Slots of Saved::until_weight.
enum { kNormed, kGradGateUp, kActivated, kGradOutput, kGradNorm };

}  // namespace

FeedForward::FeedForward(const std::string& prefix, const Options& options)
    : options_(options),
      norm_(prefix + ".post_attention_layernorm", options.num_channels, options.epsilon) {
  const std::string place = prefix + ".mlp.";
  const auto rows_of = [&](const std::string& end) -> std::vector<NamedRows> {
    return {{place + "gate_proj" + end, 0, options.hidden},
            {place + "up_proj" + end, options.hidden, 2 * options.hidden}};
  };
  gate_up_ = {.name = place + "gate_up_proj.weight",
              .shape = {2 * options.hidden, options.num_channels},
              .init = {.standard_deviation = options.standard_deviation},
              .checkpoint_rows = rows_of(".weight")};
  gate_up_bias_ = bias_parameter(place + "gate_up_proj.bias", 2 * options.hidden, rows_of(".bias"));
  down_ = {.name = place + "down_proj.weight",
           .shape = {options.num_channels, options.hidden},
           .init = {.standard_deviation = options.output_standard_deviation}};
  down_bias_ = bias_parameter(place + "down_proj.bias", options.num_channels);
}

std::vector<Parameter*> FeedForward::parameters() {
  Parameter* const norm = norm_.parameters().front();
  return options_.has_bias ? std::vector{norm, &gate_up_, &gate_up_bias_, &down_, &down_bias_}
                           : std::vector{norm, &gate_up_, &down_};
}

at::Tensor FeedForward::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  const at::Tensor x = as_rows(input);
  const Norm::Normed normed = norm_.normalize(x);
  const at::Tensor gate_up = product(normed.output, gate_up_, gate_up_bias_.value);
  at::Tensor activated = at::empty({x.size(0), options_.hidden}, x.options());
  kernels::swiglu(gate_up, activated);
  saved.until_input = {input, normed.statistics, gate_up};
  at::Tensor output = product(activated, down_, x);
  if (down_bias_.value.defined()) {
    output.add_(down_bias_.value);
  }
  return output.view(input.sizes());
}

at::Tensor FeedForward::backward_input(const at::Tensor& grad_output,
                                       Saved& saved,
                                       const Call& /*call*/) {
  const at::Tensor g = as_rows(grad_output);
  at::Tensor activated = product_backward_input(g, down_);
  at::Tensor gate_up = std::move(saved.until_input[kGateUp]);
  kernels::swiglu_backward(gate_up, activated);
  Norm::Gradients norm = norm_.backward({.rows = as_rows(saved.until_input[kInput]),
                                         .statistics = saved.until_input[kStatistics],
                                         .grad_output = product_backward_input(gate_up, gate_up_),
                                         .residual = g});
  saved.until_input.clear();
  saved.until_weight = {norm.output, gate_up, activated, g, norm.parameters};
  return norm.input.view(grad_output.sizes());
}

void FeedForward::backward_weight(std::span<Saved*> saved) {
  affine_backward_weight(take_rows(saved, kGradOutput), take_rows(saved, kActivated), down_,
                         down_bias_);
  affine_backward_weight(take_rows(saved, kGradGateUp), take_rows(saved, kNormed), gate_up_,
                         gate_up_bias_);
  for (Saved* one : saved) {
    norm_.accumulate_gradients(one->until_weight[kGradNorm]);
    one->until_weight.clear();
  }
}

SavedBytes FeedForward::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t channels = options_.num_channels;
  const std::int64_t rows = numel(input_shape) / channels;
  return {.until_input = rows * (channels + 1) * element_bytes,
          .until_weight = rows * 2 * options_.hidden * element_bytes,
          .gradients = (rows * (2 * channels + options_.hidden) + channels) * element_bytes};
}

Flops FeedForward::flops(const Shape& input_shape) const {
  return product_flops(numel(input_shape) / options_.num_channels, {&gate_up_, &down_});
}

}  // namespace halfback
