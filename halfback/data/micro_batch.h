// One micro-batch, from the data to a pipeline.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace halfback {

// Token ids [N, T] for language models, images [N, C, H, W] and their classes [N], on the CPU.
// Side inputs, such as a mask, follow the first input.
struct MicroBatch {
  std::vector<at::Tensor> inputs;
  at::Tensor targets;
  // By stage, what its first layer takes besides what arrives, such as a mask. Fewer than stages:
  // the others take nothing.
  std::vector<std::vector<at::Tensor>> stage_inputs = {};
  // How many targets have a loss, if those of at least 0 are not meant.
  std::optional<std::int64_t> count = {};
};

// Returns how many targets have a loss.
std::int64_t num_targets(std::span<const MicroBatch> micro_batches);

// Returns what the summed loss of a step is divided by: the number of targets, or 1 if there are
// none, so that such a step has no gradient.
double loss_divisor(std::span<const MicroBatch> micro_batches);

}  // namespace halfback
