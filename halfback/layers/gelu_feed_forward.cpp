#include "halfback/layers/gelu_feed_forward.h"

#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>

namespace halfback {

namespace {

// Slots of Saved::until_weight; F fills the first two, I the rest.
enum { kInput, kHidden, kGradHidden, kGradOutput };

}  // namespace

GeluFeedForward::GeluFeedForward(const std::string& prefix, const Options& options)
    : options_(options),
      up_{.name = prefix + ".intermediate.dense.weight",
          .shape = {options.hidden, options.num_channels},
          .init = {.standard_deviation = options.standard_deviation}},
      up_bias_(bias_parameter(prefix + ".intermediate.dense.bias", options.hidden)),
      down_{.name = prefix + ".output.dense.weight",
            .shape = {options.num_channels, options.hidden},
            .init = {.standard_deviation = options.standard_deviation}},
      down_bias_(bias_parameter(prefix + ".output.dense.bias", options.num_channels)) {}

std::vector<Parameter*> GeluFeedForward::parameters() {
  return {&up_, &up_bias_, &down_, &down_bias_};
}

at::Tensor GeluFeedForward::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  const at::Tensor hidden = product(as_rows(input), up_, up_bias_.value);
  saved.until_weight = {input, hidden};
  return product(at::gelu(hidden), down_, down_bias_.value).view(input.sizes());
}

at::Tensor GeluFeedForward::backward_input(const at::Tensor& grad_output,
                                           Saved& saved,
                                           const Call& /*call*/) {
  const at::Tensor g = as_rows(grad_output);
  at::Tensor hidden = saved.until_weight[kHidden];
  at::Tensor gradient = product_backward_input(g, down_);
  at::gelu_backward_out(gradient, gradient, hidden);
  at::gelu_out(hidden, hidden);
  saved.until_weight.insert(saved.until_weight.end(), {gradient, g});
  return product_backward_input(gradient, up_).view(grad_output.sizes());
}

void GeluFeedForward::backward_weight(std::span<Saved*> saved) {
  affine_backward_weight(take_rows(saved, kGradOutput), take_rows(saved, kHidden), down_,
                         down_bias_);
  affine_backward_weight(take_rows(saved, kGradHidden), take_rows(saved, kInput), up_, up_bias_);
  for (Saved* const one : saved) {
    one->until_weight.clear();
  }
}

SavedBytes GeluFeedForward::saved_bytes(const Shape& input_shape,
                                        std::int64_t element_bytes) const {
  const std::int64_t channels = options_.num_channels;
  const std::int64_t row = (channels + options_.hidden) * element_bytes;
  const std::int64_t rows = numel(input_shape) / channels;
  return {.until_weight = rows * row, .gradients = rows * row};
}

Flops GeluFeedForward::flops(const Shape& input_shape) const {
  return product_flops(numel(input_shape) / options_.num_channels, {&up_, &down_});
}

}  // namespace halfback
