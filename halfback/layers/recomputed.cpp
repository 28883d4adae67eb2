#include "halfback/layers/recomputed.h"

#include "halfback/base/error.h"
#include "halfback/layers/shapes.h"

#include <utility>

namespace halfback {

namespace {

// Returns a copy that I may overwrite.
Saved copied(const Saved& saved) {
  return cloned(saved,
                "model: a module of libtorch has one graph, which I uses up; its gradients can be "
                "recomputed only together with its forward; recompute both");
}

}  // namespace

Recomputed::Recomputed(std::vector<std::unique_ptr<Layer>> layers, const RecomputePolicy& policy)
    : Sequence(std::move(layers)), policy_(policy) {}

Tensors Recomputed::forward(Tensors inputs, Saved& saved, const Call& call) {
  if (!policy_.recomputes_forward) {
    return Sequence::forward(std::move(inputs), saved, call);
  }
  saved.until_input = inputs;
  Saved dropped;
  return Sequence::forward(std::move(inputs), dropped, call);
}

void Recomputed::restore(Saved& saved, const Call& call) {
  if (policy_.recomputes_forward) {
    Sequence::forward(saved.until_input, saved, call);
  }
}

Tensors Recomputed::backward_input(Tensors grad_outputs, Saved& saved, const Call& call) {
  if (!policy_.recomputes_gradients) {
    restore(saved, call);
    saved.until_input.clear();
    return Sequence::backward_input(std::move(grad_outputs), saved, call);
  }
  saved.until_weight = grad_outputs;
  saved.call = call;
  if (policy_.recomputes_forward) {
    Saved work;
    Sequence::forward(saved.until_input, work, call);
    return Sequence::backward_input(std::move(grad_outputs), work, call);
  }
  Saved work = copied(saved);
  return Sequence::backward_input(std::move(grad_outputs), work, call);
}

Tensors Recomputed::backward(Tensors grad_outputs, Saved& saved, const Call& call) {
  restore(saved, call);
  saved.until_input.clear();
  return Sequence::backward(std::move(grad_outputs), saved, call);
}

void Recomputed::prepare_weight(Saved& saved) {
  if (policy_.recomputes_gradients) {
    restore(saved, saved.call);
    saved.until_input.clear();
    Sequence::backward_input(std::exchange(saved.until_weight, {}), saved, saved.call);
  }
}

void Recomputed::backward_weight(std::span<Saved*> saved) {
  for (Saved* const one : saved) {
    prepare_weight(*one);
  }
  Sequence::backward_weight(saved);
}

Described Recomputed::describe(std::vector<Shape> shapes, std::int64_t element_bytes) const {
  const std::int64_t input = numel(shapes.front()) * element_bytes;
  Described inside = Sequence::describe(std::move(shapes), element_bytes);
  const SavedBytes kept = inside.bytes;
  if (!policy_.recomputes_gradients) {
    inside.bytes = {.until_input = input, .gradients = kept.until_weight + kept.gradients};
  } else {
    inside.bytes = {
        .until_weight = policy_.recomputes_forward ? input : kept.until_input + kept.until_weight,
        .gradients = numel(inside.shapes.front()) * element_bytes};
  }
  inside.bytes.is_exact = kept.is_exact;
  Flops& flops = inside.flops;
  const std::int64_t again = policy_.recomputes_forward ? flops.forward : 0;
  if (policy_.recomputes_gradients) {
    flops.weight += again + flops.input;
    flops.spared_weight += flops.spared_input;
  }
  flops.input += again;
  return inside;
}

}  // namespace halfback
