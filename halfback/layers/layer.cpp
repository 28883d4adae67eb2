#include "halfback/layers/layer.h"

#include "halfback/base/error.h"
#include "halfback/layers/shapes.h"

#include <algorithm>
#include <utility>

namespace halfback {

std::int64_t Parameter::numel() const { return halfback::numel(shape); }

bool Saved::is_empty() const {
  return until_input.empty() && until_weight.empty() && !graph &&
         std::all_of(members.begin(), members.end(),
                     [](const Saved& member) { return member.is_empty(); });
}

Saved copy_for_another_gradient(const Saved& saved) {
  if (saved.graph) {
    throw ConfigError(
        "local updates: the gradients of several losses pass a module of libtorch, whose graph "
        "runs "
        "once; use layers of Halfback's own, or losses of which one passes");
  }
  const auto copies = [](const Tensors& tensors) {
    Tensors all;
    all.reserve(tensors.size());
    for (const at::Tensor& tensor : tensors) {
      all.push_back(tensor.defined() ? tensor.clone() : at::Tensor());
    }
    return all;
  };
  Saved copy = saved;
  copy.is_copy = true;
  copy.until_input = copies(saved.until_input);
  copy.until_weight = copies(saved.until_weight);
  std::transform(saved.members.begin(), saved.members.end(), copy.members.begin(),
                 copy_for_another_gradient);
  return copy;
}

SavedBytes& SavedBytes::operator+=(const SavedBytes& other) {
  until_input += other.until_input;
  until_weight += other.until_weight;
  gradients += other.gradients;
  return *this;
}

Tensors Layer::forward_all(Tensors inputs, Saved& saved) {
  inputs.front() = forward(inputs.front(), saved);
  return inputs;
}

Tensors Layer::backward_input_all(Tensors grad_outputs, Saved& saved) {
  grad_outputs.front() = backward_input(grad_outputs.front(), saved);
  return grad_outputs;
}

Tensors Layer::backward_all(Tensors grad_outputs, Saved& saved) {
  Tensors gradients = backward_input_all(std::move(grad_outputs), saved);
  backward_weight(saved);
  return gradients;
}

void Layer::backward_weight_concatenated(std::span<Saved*> saved) {
  for (Saved* one : saved) {
    backward_weight(*one);
  }
}

void LossLayer::backward_weight_concatenated(std::span<Saved*> saved) {
  for (Saved* one : saved) {
    backward_weight(*one);
  }
}

}  // namespace halfback
