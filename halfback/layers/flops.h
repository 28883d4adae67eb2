// Floating point operations of matrix products and convolutions, a multiplication and an addition
// each counting one. All others are left out, as by PyTorch's flop counter
// (torch.utils.flop_counter), which the numbers equal.
#pragma once

#include <cstdint>

namespace halfback {

// Of one micro-batch. B takes as many as I and W together, unless W recomputes gradients.
struct Flops {
  std::int64_t forward = 0;
  std::int64_t input = 0;   // I of one gradient
  std::int64_t weight = 0;  // W of one gradient

  Flops& operator+=(const Flops& other) {
    forward += other.forward;
    input += other.input;
    weight += other.weight;
    return *this;
  }
  bool operator==(const Flops&) const = default;
};

// Returns those of rows [M, inputs] times a matrix [inputs, outputs] that trains.
inline Flops product_flops(std::int64_t rows, std::int64_t inputs, std::int64_t outputs) {
  const std::int64_t each = 2 * rows * inputs * outputs;
  return {each, each, each};
}

// Returns those of attention between T queries and T keys of `channels` in all heads, for so many
// rows of queries: two products in F, and five in I, which makes the scores again.
inline Flops attention_flops(std::int64_t rows, std::int64_t length, std::int64_t channels) {
  const std::int64_t each = 2 * rows * length * channels;
  return {.forward = 2 * each, .input = 5 * each};
}

}  // namespace halfback
