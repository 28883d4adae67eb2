#include "halfback/layers/residual.h"

#include <utility>

namespace halfback {

namespace {

// Adds a gradient to the first one, unless nobody needs that.
Tensors added(Tensors gradients, const at::Tensor& other) {
  if (gradients.front().defined()) {
    gradients.front().add_(other);
  }
  return gradients;
}

}  // namespace

Tensors Residual::forward(Tensors inputs, Saved& saved, const Call& call) {
  const at::Tensor x = inputs.front();
  Tensors outputs = Sequence::forward(std::move(inputs), saved, call);
  outputs.front().add_(x);
  return outputs;
}

Tensors Residual::backward_input(Tensors grad_outputs, Saved& saved, const Call& call) {
  const at::Tensor g = grad_outputs.front();
  Tensors gradients = Sequence::backward_input(std::move(grad_outputs), saved, call);
  return added(std::move(gradients), g);
}

Tensors Residual::backward(Tensors grad_outputs, Saved& saved, const Call& call) {
  const at::Tensor g = grad_outputs.front();
  Tensors gradients = Sequence::backward(std::move(grad_outputs), saved, call);
  return added(std::move(gradients), g);
}

}  // namespace halfback
