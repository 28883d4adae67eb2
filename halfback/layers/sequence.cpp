#include "halfback/layers/sequence.h"

#include <utility>

namespace halfback {

namespace {

// All layers but the first need the gradient of their input.
Call for_layer(std::size_t index, Call call) {
  call.needs_input = call.needs_input || index > 0;
  return call;
}

}  // namespace

Sequence::Sequence(std::vector<std::unique_ptr<Layer>> layers) : layers_(std::move(layers)) {}

std::vector<Parameter*> Sequence::parameters() {
  std::vector<Parameter*> all;
  for (const auto& layer : layers_) {
    const std::vector<Parameter*> some = layer->parameters();
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

std::vector<at::Tensor*> Sequence::buffers() {
  std::vector<at::Tensor*> all;
  for (const auto& layer : layers_) {
    const std::vector<at::Tensor*> some = layer->buffers();
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

Tensors Sequence::forward(Tensors inputs, Saved& saved, const Call& call) {
  saved.add_members(layers_.size());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    inputs = layers_[i]->forward(std::move(inputs), saved.members[i], call);
  }
  return inputs;
}

Tensors Sequence::backward_input(Tensors grad_outputs, Saved& saved, const Call& call) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    grad_outputs =
        layers_[i]->backward_input(std::move(grad_outputs), saved.members[i], for_layer(i, call));
  }
  return grad_outputs;
}

Tensors Sequence::backward(Tensors grad_outputs, Saved& saved, const Call& call) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    grad_outputs =
        layers_[i]->backward(std::move(grad_outputs), saved.members[i], for_layer(i, call));
  }
  saved.members.clear();
  return grad_outputs;
}

void Sequence::backward_weight(std::span<Saved*> saved) {
  for (std::size_t i = layers_.size(); i-- > 0;) {
    std::vector<Saved*> members = members_of(saved, i);
    layers_[i]->backward_weight(members);
  }
  for (Saved* const one : saved) {
    one->members.clear();
  }
}

Described Sequence::describe(std::vector<Shape> shapes, std::int64_t element_bytes) const {
  return describe_in_turn(layers_, std::move(shapes), element_bytes);
}

Described describe_in_turn(std::span<const std::unique_ptr<Layer>> layers,
                           std::vector<Shape> shapes,
                           std::int64_t element_bytes) {
  Described all{.shapes = std::move(shapes), .bytes = {}};
  for (const auto& layer : layers) {
    Described one = layer->describe(std::move(all.shapes), element_bytes);
    all.shapes = std::move(one.shapes);
    all.bytes += one.bytes;
    if (&layer != &layers.front()) {
      one.flops.spared_input = one.flops.spared_weight = 0;
    }
    all.flops += one.flops;
  }
  return all;
}

}  // namespace halfback
