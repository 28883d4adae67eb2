#include "halfback/layers/residual.h"

#include <utility>

namespace halfback {

Tensors Residual::forward_all(Tensors inputs, Saved& saved) {
  const at::Tensor x = inputs.front();
  Tensors outputs = Sequence::forward_all(std::move(inputs), saved);
  outputs.front().add_(x);
  return outputs;
}

Tensors Residual::backward_input_all(Tensors grad_outputs, Saved& saved) {
  const at::Tensor g = grad_outputs.front();
  Tensors gradients = Sequence::backward_input_all(std::move(grad_outputs), saved);
  gradients.front().add_(g);
  return gradients;
}

Tensors Residual::backward_all(Tensors grad_outputs, Saved& saved) {
  const at::Tensor g = grad_outputs.front();
  Tensors gradients = Sequence::backward_all(std::move(grad_outputs), saved);
  gradients.front().add_(g);
  return gradients;
}

}  // namespace halfback
