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

Saved cloned(const Saved& saved, const std::string& refusal) {
  if (saved.graph) {
    throw ConfigError(refusal);
  }
  Saved copy = saved;
  for (Tensors* tensors : {&copy.until_input, &copy.until_weight}) {
    for (at::Tensor& tensor : *tensors) {
      tensor = tensor.defined() ? tensor.clone() : tensor;
    }
  }
  for (Saved& member : copy.members) {
    member = cloned(member, refusal);
  }
  return copy;
}

namespace {

void mark_as_copy(Saved& saved) {
  saved.is_copy = true;
  std::for_each(saved.members.begin(), saved.members.end(), mark_as_copy);
}

}  // namespace

Saved copy_for_another_gradient(const Saved& saved) {
  Saved copy = cloned(
      saved,
      "local updates: the gradients of several losses pass a module of libtorch, whose graph runs "
      "once; use layers of Halfback's own, or losses of which one passes");
  mark_as_copy(copy);
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
