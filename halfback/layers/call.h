// What a layer knows about a call besides its tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace halfback {

// The tensors that travel between layers. Most layers work on the first. For native layers the
// others are side inputs, such as a mask: they belong to the micro-batch, are passed on, and have
// no gradient.
using Tensors = std::vector<at::Tensor>;

// What a layer passes from one slice of a sequence to the next. A layer that treats positions
// independently leaves it empty.
struct Carry {
  std::int64_t position = 0;  // positions seen so far
  Tensors state = {};         // tensors of those positions; the layer defines them
};

struct Call {
  std::uint64_t key = 0;    // of the micro-batch in its step; random masks are drawn from it
  bool is_training = true;  // false: no dropout, reads running statistics
  bool needs_input = true;  // false: I may return an undefined gradient, since nobody takes it
  // So many of the inputs, the last ones, come with the micro-batch and not from a layer: they have
  // no gradient.
  std::size_t num_stage_inputs = 0;
  int slice = 0;             // of the sequence
  std::int64_t version = 0;  // of the weights: number of updates before
  Carry* carry = nullptr;    // in and out; null for whole sequences
};

}  // namespace halfback
