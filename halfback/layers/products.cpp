#include "halfback/layers/products.h"

#include "halfback/kernels/matrix_product.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>

#include <utility>
#include <vector>

namespace halfback {

at::Tensor as_rows(const at::Tensor& tensor) { return tensor.view({-1, tensor.size(-1)}); }

at::Tensor product(const at::Tensor& x, const Parameter& weight, const at::Tensor& added) {
  const at::Tensor transposed = weight.operand().t();
  if (weight.rounded.defined()) {
    at::Tensor widened = at::mm(x.to(transposed.scalar_type()), transposed).to(x.scalar_type());
    return added.defined() ? widened.add_(added) : widened;  // add() with two types is far slower
  }
  at::Tensor result = at::empty({x.size(0), transposed.size(1)}, x.options());
  if (added.defined()) {
    result.copy_(added);
  }
  multiply(x, transposed, result, added.defined() ? Product::Adds : Product::Overwrites);
  return result;
}

at::Tensor product_backward_input(const at::Tensor& gradient, const Parameter& weight) {
  if (weight.rounded.defined()) {
    return at::mm(gradient.to(weight.rounded.scalar_type()), weight.rounded)
        .to(gradient.scalar_type());
  }
  at::Tensor result = at::empty({gradient.size(0), weight.value.size(1)}, gradient.options());
  multiply(gradient, weight.value, result, Product::Overwrites);
  return result;
}

void product_backward_weight(const at::Tensor& gradient, const at::Tensor& x, Parameter& weight) {
  if (weight.rounded.defined()) {
    const at::ScalarType dtype = weight.rounded.scalar_type();
    accumulate(at::mm(gradient.to(dtype).t(), x.to(dtype)), weight);
    return;
  }
  multiply(gradient.t(), x, weight.gradient,
           weight.has_gradient ? Product::Adds : Product::Overwrites);
  weight.has_gradient = true;
}

void affine_backward_weight(const at::Tensor& gradient,
                            const at::Tensor& x,
                            Parameter& weight,
                            Parameter& bias) {
  product_backward_weight(gradient, x, weight);
  if (bias.value.defined()) {
    accumulate(gradient.sum(0), bias);
  }
}

void start_gradient(Parameter& parameter) {
  if (!parameter.has_gradient) {
    parameter.gradient.zero_();
    parameter.has_gradient = true;
  }
}

void accumulate(const at::Tensor& gradient, Parameter& parameter) {
  if (parameter.has_gradient) {
    parameter.gradient.add_(gradient);
  } else {
    parameter.gradient.copy_(gradient);
    parameter.has_gradient = true;
  }
}

at::Tensor take(std::span<Saved*> saved, std::size_t slot) {
  std::vector<at::Tensor> parts;
  parts.reserve(saved.size());
  for (Saved* one : saved) {
    parts.push_back(std::exchange(one->until_weight[slot], {}));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

at::Tensor take_rows(std::span<Saved*> saved, std::size_t slot) {
  for (Saved* one : saved) {
    one->until_weight[slot] = as_rows(one->until_weight[slot]);
  }
  return take(saved, slot);
}

}  // namespace halfback
