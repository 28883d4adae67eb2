// Floating point operations of matrix products and convolutions, a multiplication and an addition
// each counting one. All others are left out, as by PyTorch's flop counter
// (torch.utils.flop_counter), which the numbers equal. Weights that pruning holds at 0 count none,
// although the kernels multiply them.
#pragma once

#include "halfback/layers/parameter.h"

#include <cstdint>
#include <initializer_list>

namespace halfback {

// Of one micro-batch. B takes as many as I and W together, unless W recomputes gradients.
struct Flops {
  std::int64_t forward = 0;
  std::int64_t input = 0;   // I of one gradient
  std::int64_t weight = 0;  // W of one gradient
  // What I, and W where it repeats I, do not do if nobody takes the gradient of the input.
  std::int64_t spared_input = 0;
  std::int64_t spared_weight = 0;

  Flops& operator+=(const Flops& other) {
    forward += other.forward;
    input += other.input;
    weight += other.weight;
    spared_input += other.spared_input;
    spared_weight += other.spared_weight;
    return *this;
  }
  bool operator==(const Flops&) const = default;
};

// Returns those of products of M rows with each of these matrices [outputs, inputs], which train.
inline Flops product_flops(std::int64_t rows, std::initializer_list<const Parameter*> matrices) {
  std::int64_t each = 0;
  for (const Parameter* const matrix : matrices) {
    each += 2 * rows * (matrix->numel() - matrix->num_pruned);
  }
  return {each, each, each};
}

// Returns those of attention between T queries and T keys of `channels` in all heads, for so many
// rows of queries: two products in F, and five in I, which makes the scores again.
inline Flops attention_flops(std::int64_t rows, std::int64_t length, std::int64_t channels) {
  const std::int64_t each = 2 * rows * length * channels;
  return {.forward = 2 * each, .input = 5 * each};
}

}  // namespace halfback
