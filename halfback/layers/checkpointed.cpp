#include "halfback/layers/checkpointed.h"

#include "halfback/base/error.h"
#include "halfback/layers/shapes.h"

#include <utility>

namespace halfback {

namespace {

// A copy that I may overwrite.
Saved copied(const Saved& saved) {
  return cloned(saved,
                "model: a module of libtorch has one graph, which I uses up; its gradients can be "
                "recomputed only together with its forward; recompute both");
}

}  // namespace

Checkpointed::Checkpointed(std::vector<std::unique_ptr<Layer>> layers,
                           const CheckpointPolicy& policy)
    : Sequence(std::move(layers)), policy_(policy) {}

Tensors Checkpointed::forward_all(Tensors inputs, Saved& saved) {
  if (!policy_.recomputes_forward) {
    return Sequence::forward_all(std::move(inputs), saved);
  }
  saved.until_input = inputs;
  Saved dropped{.key = saved.key, .is_training = saved.is_training};
  return Sequence::forward_all(std::move(inputs), dropped);
}

void Checkpointed::restore(Saved& saved) {
  if (policy_.recomputes_forward) {
    Sequence::forward_all(saved.until_input, saved);
  }
}

Tensors Checkpointed::backward_input_all(Tensors grad_outputs, Saved& saved) {
  if (!policy_.recomputes_gradients) {
    restore(saved);
    saved.until_input.clear();
    return Sequence::backward_input_all(std::move(grad_outputs), saved);
  }
  saved.until_weight = grad_outputs;
  if (policy_.recomputes_forward) {
    Saved work{.key = saved.key, .is_training = saved.is_training, .is_copy = saved.is_copy};
    Sequence::forward_all(saved.until_input, work);
    return Sequence::backward_input_all(std::move(grad_outputs), work);
  }
  Saved work = copied(saved);
  return Sequence::backward_input_all(std::move(grad_outputs), work);
}

Tensors Checkpointed::backward_all(Tensors grad_outputs, Saved& saved) {
  restore(saved);
  saved.until_input.clear();
  return Sequence::backward_all(std::move(grad_outputs), saved);
}

void Checkpointed::prepare_weight(Saved& saved) {
  if (policy_.recomputes_gradients) {
    restore(saved);
    saved.until_input.clear();
    Sequence::backward_input_all(std::exchange(saved.until_weight, {}), saved);
  }
}

void Checkpointed::backward_weight(Saved& saved) {
  prepare_weight(saved);
  Sequence::backward_weight(saved);
}

void Checkpointed::backward_weight_concatenated(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    prepare_weight(*one);
  }
  Sequence::backward_weight_concatenated(saved);
}

SavedBytes Checkpointed::saved_bytes(std::span<const std::int64_t> input_shape,
                                     std::int64_t element_bytes) const {
  const SavedBytes inside = Sequence::saved_bytes(input_shape, element_bytes);
  const std::int64_t input = numel(input_shape) * element_bytes;
  const std::int64_t gradient = numel(output_shape(input_shape)) * element_bytes;
  if (!policy_.recomputes_gradients) {
    return {.until_input = input, .gradients = inside.until_weight + inside.gradients};
  }
  return {
      .until_weight = policy_.recomputes_forward ? input : inside.until_input + inside.until_weight,
      .gradients = gradient};
}

}  // namespace halfback
