// One micro-batch, as data makes it and a pipeline takes it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace halfback {

// Token ids [N, T] for language models, images [N, C, H, W] and their classes [N], on the CPU.
// Side inputs, such as a mask, stand behind the first input.
struct MicroBatch {
  std::vector<at::Tensor> inputs;
  at::Tensor targets;
};

// Returns how many targets have a loss: those that are not below 0.
std::int64_t num_targets(std::span<const MicroBatch> micro_batches);

}  // namespace halfback
