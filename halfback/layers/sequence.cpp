#include "halfback/layers/sequence.h"

#include <algorithm>
#include <utility>

namespace halfback {

Sequence::Sequence(std::vector<std::unique_ptr<Layer>> layers) : layers_(std::move(layers)) {}

std::vector<Parameter*> Sequence::parameters() {
  std::vector<Parameter*> all;
  for (const auto& layer : layers_) {
    const std::vector<Parameter*> some = layer->parameters();
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

std::vector<at::Tensor*> Sequence::constants() {
  std::vector<at::Tensor*> all;
  for (const auto& layer : layers_) {
    const std::vector<at::Tensor*> some = layer->constants();
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

at::Tensor Sequence::forward(const at::Tensor& input, Saved& saved) {
  return forward_all({input}, saved).front();
}

at::Tensor Sequence::backward_input(const at::Tensor& grad_output, Saved& saved) {
  return backward_input_all({grad_output}, saved).front();
}

Tensors Sequence::forward_all(Tensors inputs, Saved& saved) {
  saved.members.resize(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Saved& member = saved.members[i];
    member.key = saved.key;
    member.is_training = saved.is_training;
    member.is_copy = saved.is_copy;
    inputs = layers_[i]->forward_all(std::move(inputs), member);
  }
  return inputs;
}

Tensors Sequence::backward_input_all(Tensors grad_outputs, Saved& saved) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    grad_outputs = layers_[i]->backward_input_all(std::move(grad_outputs), saved.members[i]);
  }
  return grad_outputs;
}

Tensors Sequence::backward_all(Tensors grad_outputs, Saved& saved) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    grad_outputs = layers_[i]->backward_all(std::move(grad_outputs), saved.members[i]);
  }
  saved.members.clear();
  return grad_outputs;
}

void Sequence::backward_weight(Saved& saved) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    layers_[i]->backward_weight(saved.members[i]);
  }
  saved.members.clear();
}

void Sequence::backward_weight_concatenated(std::span<Saved*> saved) {
  std::vector<Saved*> members(saved.size());
  for (std::size_t i = layers_.size(); i-- > 0;) {
    std::transform(saved.begin(), saved.end(), members.begin(),
                   [i](Saved* one) { return &one->members[i]; });
    layers_[i]->backward_weight_concatenated(members);
  }
  for (Saved* const one : saved) {
    one->members.clear();
  }
}

SavedBytes Sequence::saved_bytes(std::span<const std::int64_t> input_shape,
                                 std::int64_t element_bytes) const {
  SavedBytes bytes;
  std::vector<std::int64_t> shape(input_shape.begin(), input_shape.end());
  for (const auto& layer : layers_) {
    bytes += layer->saved_bytes(shape, element_bytes);
    shape = layer->output_shape(shape);
  }
  return bytes;
}

std::vector<std::int64_t> Sequence::output_shape(std::span<const std::int64_t> input_shape) const {
  std::vector<std::int64_t> shape(input_shape.begin(), input_shape.end());
  for (const auto& layer : layers_) {
    shape = layer->output_shape(shape);
  }
  return shape;
}

}  // namespace halfback
