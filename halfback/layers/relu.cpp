#include "halfback/layers/relu.h"

#include "halfback/kernels/images.h"
#include "halfback/layers/shapes.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

namespace halfback {

Relu::Passed Relu::apply(const at::Tensor& input, const at::Tensor& added) {
  Passed passed{
      .output = at::empty_like(input),
      .mask = at::empty({kernels::mask_bytes(input.numel())}, input.options().dtype(at::kByte))};
  kernels::relu(input, added, passed.output, passed.mask);
  return passed;
}

at::Tensor Relu::backward(const at::Tensor& grad_output, const at::Tensor& mask) {
  at::Tensor gradient = at::empty_like(grad_output);
  kernels::relu_backward(grad_output, mask, gradient);
  return gradient;
}

at::Tensor Relu::forward(const at::Tensor& input, Saved& saved, const Call& /*call*/) {
  const Passed passed = apply(input, {});
  saved.until_input = {passed.mask};
  return passed.output;
}

at::Tensor Relu::backward_input(const at::Tensor& grad_output, Saved& saved, const Call& /*call*/) {
  const at::Tensor mask = saved.until_input.front();
  saved.until_input.clear();
  return backward(grad_output, mask);
}

SavedBytes Relu::saved_bytes(const Shape& input_shape, std::int64_t) const {
  return {.until_input = kernels::mask_bytes(numel(input_shape))};
}

}  // namespace halfback
