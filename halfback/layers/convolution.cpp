#include "halfback/layers/convolution.h"

#include "halfback/layers/products.h"
#include "halfback/layers/shapes.h"
#include "halfback/layers/usual_parameters.h"

#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace halfback {

namespace {

std::vector<std::int64_t> weight_shape(const Convolution::Options& options) {
  std::vector<std::int64_t> shape = {options.num_outputs, options.num_inputs};
  shape.insert(shape.end(), static_cast<std::size_t>(options.num_dimensions), options.window);
  return shape;
}

double standard_deviation(const Convolution::Options& options) {
  const std::vector<std::int64_t> shape = weight_shape(options);
  return std::sqrt(2.0 * static_cast<double>(options.num_inputs) /
                   static_cast<double>(numel(shape)));
}

std::vector<std::int64_t> by_dimension(const Convolution::Options& options, std::int64_t value) {
  return std::vector<std::int64_t>(static_cast<std::size_t>(options.num_dimensions), value);
}

// Returns the type for computing weight gradients: that of the operands, except for strides longer
// than the last dimension. There oneDNN's bfloat16 kernel leaves elements unwritten (torch 2.13).
// Such products are small, and float32 takes the same rounded operands.
at::ScalarType weight_gradient_type(const at::Tensor& input,
                                    std::int64_t stride,
                                    at::ScalarType dtype) {
  return at::isReducedFloatingType(dtype) && input.size(-1) < stride ? at::kFloat : dtype;
}

// Returns how many of the first ones have images of one size.
std::size_t num_of_one_size(std::span<Saved* const> saved) {
  const auto size = [](const Saved* one) { return one->until_weight.front().sizes().slice(2); };
  const auto other = std::find_if(saved.begin(), saved.end(), [&](const Saved* one) {
    return size(one) != size(saved.front());
  });
  return static_cast<std::size_t>(other - saved.begin());
}

}  // namespace

Convolution::Convolution(const std::string& name, const Options& options)
    : options_(options),
      stride_(by_dimension(options, options.stride)),
      padding_(by_dimension(options, options.padding)),
      weight_{.name = name + ".weight",
              .shape = weight_shape(options),
              .init = {.standard_deviation = standard_deviation(options)}},
      bias_(bias_parameter(name + ".bias", options.num_outputs)) {}

std::vector<Parameter*> Convolution::parameters() {
  return options_.has_bias ? std::vector{&weight_, &bias_} : std::vector{&weight_};
}

at::Tensor Convolution::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  saved.until_weight = {input};
  const at::ScalarType dtype = weight_.operand().scalar_type();
  return at::convolution(input.to(dtype), weight_.operand(),
                         options_.has_bias ? std::optional(bias_.value.to(dtype)) : std::nullopt,
                         stride_, padding_, by_dimension(options_, 1), /*transposed=*/false,
                         by_dimension(options_, 0), /*groups=*/1)
      .to(input.scalar_type())
      .contiguous();
}

at::Tensor Convolution::backward_input(const at::Tensor& grad_output,
                                       Saved& saved,
                                       const Call& call) {
  saved.until_weight.push_back(grad_output);
  if (options_.has_data_input || !call.needs_input) {
    return {};
  }
  const at::Tensor& weight = weight_.operand();
  const at::ScalarType dtype = weight.scalar_type();
  const auto [grad_input, no_weight, no_bias] = at::convolution_backward(
      grad_output.to(dtype), saved.until_weight.front().to(dtype), weight, std::nullopt, stride_,
      padding_, by_dimension(options_, 1), /*transposed=*/false, by_dimension(options_, 0),
      /*groups=*/1, std::array{true, false, false});
  return grad_input.to(grad_output.scalar_type()).contiguous();
}

void Convolution::backward_weight(std::span<Saved*> saved) {
  while (!saved.empty()) {
    const std::size_t count = num_of_one_size(saved);
    add_gradients(saved.first(count));
    saved = saved.subspan(count);
  }
}

void Convolution::add_gradients(std::span<Saved*> saved) {
  const at::ScalarType rounded = weight_.operand().scalar_type();
  const at::Tensor input = take(saved, 0).to(rounded);
  const at::Tensor gradient = take(saved, 1).to(rounded);
  const at::ScalarType dtype = weight_gradient_type(input, options_.stride, rounded);
  const auto [no_input, grad_weight, grad_bias] = at::convolution_backward(
      gradient.to(dtype), input.to(dtype), weight_.operand().to(dtype), bias_.shape, stride_,
      padding_, by_dimension(options_, 1), /*transposed=*/false, by_dimension(options_, 0),
      /*groups=*/1, std::array{false, true, options_.has_bias});
  accumulate(grad_weight, weight_);
  if (options_.has_bias) {
    accumulate(grad_bias, bias_);
  }
  for (Saved* one : saved) {
    one->until_weight.clear();
  }
}

SavedBytes Convolution::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  const std::int64_t kept = options_.has_data_input ? 0 : numel(input_shape);
  return {.until_weight = kept * element_bytes,
          .gradients = numel(output_shape(input_shape)) * element_bytes};
}

Flops Convolution::flops(const Shape& input_shape) const {
  const std::int64_t places = numel(output_shape(input_shape)) / options_.num_outputs;
  Flops flops = product_flops(places, {&weight_});
  flops.input = options_.has_data_input ? 0 : flops.input;
  flops.spared_input = flops.input;
  return flops;
}

Shape Convolution::output_shape(const Shape& input_shape) const {
  Shape shape = {input_shape[0], options_.num_outputs};
  for (std::size_t i = 2; i < input_shape.size(); ++i) {
    shape.push_back((input_shape[i] + 2 * options_.padding - options_.window) / options_.stride +
                    1);
  }
  return shape;
}

}  // namespace halfback
