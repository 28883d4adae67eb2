// One micro-batch, from the data to a pipeline.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace halfback {

// Token ids [N, T] for language models, images [N, C, H, W] and their classes [N], on the CPU.
// Side inputs, such as a mask, follow the first input.
struct MicroBatch {
  std::vector<at::Tensor> inputs;
  at::Tensor targets;
};

// Returns how many targets have a loss: those of at least 0.
std::int64_t num_targets(std::span<const MicroBatch> micro_batches);

}  // namespace halfback
