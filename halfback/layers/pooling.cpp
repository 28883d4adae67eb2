#include "halfback/layers/pooling.h"

#include "halfback/layers/shapes.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <utility>

namespace halfback {

namespace {

// Slots of Saved::until_input.
enum { kShape, kPlaces };

// One of `count` windows over `size` pixels.
struct Window {
  Window(std::int64_t number, std::int64_t count, std::int64_t size)
      : begin(number * size / count), length(((number + 1) * size + count - 1) / count - begin) {}

  std::int64_t begin;
  std::int64_t length;
};

// Returns the means of windows along one dimension.
at::Tensor window_means(const at::Tensor& input, std::int64_t dimension, std::int64_t count) {
  std::vector<std::int64_t> shape = input.sizes().vec();
  shape[static_cast<std::size_t>(dimension)] = count;
  at::Tensor means = at::empty(shape, input.options());
  for (std::int64_t i = 0; i < count; ++i) {
    const Window window(i, count, input.size(dimension));
    means.select(dimension, i)
        .copy_(input.narrow(dimension, window.begin, window.length).mean(dimension));
  }
  return means;
}

// Returns the gradient of the input, which has `size` values along that dimension.
at::Tensor window_means_backward(const at::Tensor& gradient,
                                 std::int64_t dimension,
                                 std::int64_t size) {
  std::vector<std::int64_t> shape = gradient.sizes().vec();
  shape[static_cast<std::size_t>(dimension)] = size;
  at::Tensor result = at::zeros(shape, gradient.options());
  const std::int64_t count = gradient.size(dimension);
  for (std::int64_t i = 0; i < count; ++i) {
    const Window window(i, count, size);
    result.narrow(dimension, window.begin, window.length)
        .add_(gradient.narrow(dimension, i, 1).div(static_cast<double>(window.length)));
  }
  return result;
}

}  // namespace

at::Tensor MaxPool::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  const Shape shape = output_shape(input.sizes().vec());
  at::Tensor output = at::empty(shape, input.options());
  at::Tensor places = at::empty(shape, input.options().dtype(at::kByte));
  kernels::max_pool(window_, input, output, places);
  saved.until_input = {without_memory(input), places};
  return output;
}

at::Tensor MaxPool::backward_input(const at::Tensor& grad_output,
                                   Saved& saved,
                                   const Call& /*call*/) {
  at::Tensor gradient = at::empty(saved.until_input[kShape].sizes(), grad_output.options());
  kernels::max_pool_backward(window_, grad_output, saved.until_input[kPlaces], gradient);
  saved.until_input.clear();
  return gradient;
}

SavedBytes MaxPool::saved_bytes(const Shape& input_shape, std::int64_t) const {
  return {.until_input = numel(output_shape(input_shape))};
}

Shape MaxPool::output_shape(const Shape& input_shape) const {
  const auto pooled = [this](std::int64_t size) {
    return (size + 2 * window_.padding - window_.size) / window_.stride + 1;
  };
  return {input_shape[0], input_shape[1], pooled(input_shape[2]), pooled(input_shape[3])};
}

at::Tensor GlobalAveragePool::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  at::Tensor output = at::empty(output_shape(input.sizes().vec()), input.options());
  kernels::mean_of_pixels(input, output);
  saved.until_input = {without_memory(input)};
  return output;
}

at::Tensor GlobalAveragePool::backward_input(const at::Tensor& grad_output,
                                             Saved& saved,
                                             const Call& /*call*/) {
  const at::Tensor shape = std::exchange(saved.until_input, {}).front();
  const auto pixels = static_cast<double>(shape.size(2) * shape.size(3));
  return grad_output.div(pixels).unsqueeze(2).unsqueeze(3).expand(shape.sizes()).contiguous();
}

Shape GlobalAveragePool::output_shape(const Shape& input_shape) const {
  return {input_shape[0], input_shape[1]};
}

at::Tensor AveragePool::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  saved.until_input = {without_memory(input)};
  const Shape shape = output_shape(input.sizes().vec());
  return window_means(window_means(input, 2, shape[2]), 3, shape[3]);
}

at::Tensor AveragePool::backward_input(const at::Tensor& grad_output,
                                       Saved& saved,
                                       const Call& /*call*/) {
  const at::Tensor shape = std::exchange(saved.until_input, {}).front();
  return window_means_backward(window_means_backward(grad_output, 3, shape.size(3)), 2,
                               shape.size(2));
}

Shape AveragePool::output_shape(const Shape& input_shape) const {
  const auto side = [this](std::int64_t size) {
    return options_.divisor > 0 ? (size + options_.divisor - 1) / options_.divisor : options_.grid;
  };
  return {input_shape[0], input_shape[1], side(input_shape[2]), side(input_shape[3])};
}

at::Tensor Flatten::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  saved.until_input = {without_memory(input)};
  return input.view(output_shape(input.sizes().vec()));
}

at::Tensor Flatten::backward_input(const at::Tensor& grad_output,
                                   Saved& saved,
                                   const Call& /*call*/) {
  const at::Tensor shape = std::exchange(saved.until_input, {}).front();
  return grad_output.defined() ? grad_output.view(shape.sizes()) : at::Tensor();
}

Shape Flatten::output_shape(const Shape& input_shape) const {
  return {input_shape[0], numel(std::span(input_shape).subspan(1))};
}

}  // namespace halfback
