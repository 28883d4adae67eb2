#include "halfback/layers/layer.h"

#include <utility>

namespace halfback {

Tensors Layer::backward(Tensors grad_outputs, Saved& saved, const Call& call) {
  Tensors gradients = backward_input(std::move(grad_outputs), saved, call);
  Saved* one = &saved;
  backward_weight({&one, 1});
  return gradients;
}

Tensors OneTensorLayer::forward(Tensors inputs, Saved& saved, const Call& call) {
  inputs.front() = forward(inputs.front(), saved, call);
  return inputs;
}

Tensors OneTensorLayer::backward_input(Tensors grad_outputs, Saved& saved, const Call& call) {
  grad_outputs.front() = backward_input(grad_outputs.front(), saved, call);
  return grad_outputs;
}

Described OneTensorLayer::describe(std::vector<Shape> shapes, std::int64_t element_bytes) const {
  const SavedBytes bytes = saved_bytes(shapes.front(), element_bytes);
  const Flops products = flops(shapes.front());
  shapes.front() = output_shape(shapes.front());
  return {.shapes = std::move(shapes), .bytes = bytes, .flops = products};
}

}  // namespace halfback
