#include "halfback/layers/linear.h"

#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/sum.h>

namespace halfback {

Linear::Linear(const std::string& name, const LinearOptions& options)
    : options_(options),
      weight_{.name = name + ".weight",
              .shape = {options.num_outputs, options.num_inputs},
              .init = {.standard_deviation = options.standard_deviation}},
      bias_(bias_parameter(name + ".bias", options.num_outputs)) {}

std::vector<Parameter*> Linear::parameters() {
  return options_.has_bias ? std::vector{&weight_, &bias_} : std::vector{&weight_};
}

at::Tensor Linear::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  at::Tensor output = product(as_rows(input), weight_);
  if (options_.has_bias) {
    output.add_(bias_.value);
  }
  saved.until_weight = {input};
  return output.view(output_shape(input.sizes().vec()));
}

at::Tensor Linear::backward_input(const at::Tensor& grad_output, Saved& saved, const Call& call) {
  saved.until_weight.push_back(grad_output);
  if (options_.has_data_input || !call.needs_input) {
    return {};
  }
  const at::Tensor& input = saved.until_weight.front();
  return product_backward_input(as_rows(grad_output), weight_).view(input.sizes());
}

void Linear::backward_weight(std::span<Saved*> saved) {
  const at::Tensor input = take_rows(saved, 0);
  const at::Tensor gradient = take_rows(saved, 1);
  affine_backward_weight(gradient, input, weight_, bias_);
  for (Saved* one : saved) {
    one->until_weight.clear();
  }
}

SavedBytes Linear::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t kept = options_.has_data_input ? 0 : numel(input_shape);
  return {.until_weight = kept * element_bytes,
          .gradients = numel(output_shape(input_shape)) * element_bytes};
}

Flops Linear::flops(const Shape& input_shape) const {
  Flops flops = product_flops(numel(input_shape) / options_.num_inputs, {&weight_});
  flops.input = options_.has_data_input ? 0 : flops.input;
  flops.spared_input = flops.input;
  return flops;
}

Shape Linear::output_shape(const Shape& input_shape) const {
  return with_last_size(input_shape, options_.num_outputs);
}

}  // namespace halfback
