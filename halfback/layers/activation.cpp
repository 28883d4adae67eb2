#include "halfback/layers/activation.h"

#include "halfback/layers/shapes.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

#include <utility>

namespace halfback {

at::Tensor Activation::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  saved.until_input = {input};
  return function_ == Function::Gelu ? at::gelu(input) : at::silu(input);
}

at::Tensor Activation::backward_input(const at::Tensor& grad_output,
                                      Saved& saved,
                                      const Call& /*call*/) {
  const at::Tensor input = std::exchange(saved.until_input, {}).front();
  return function_ == Function::Gelu ? at::gelu_backward(grad_output, input)
                                     : at::silu_backward(grad_output, input);
}

SavedBytes Activation::saved_bytes(const Shape& input_shape, std::int64_t element_bytes) const {
  return {.until_input = numel(input_shape) * element_bytes};
}

}  // namespace halfback
