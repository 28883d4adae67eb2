// Made-up micro-batches for measurements: they have the right shapes and nothing to learn.
#pragma once

#include "halfback/data/dataset.h"
#include "halfback/data/micro_batch.h"
#include "halfback/models/model.h"

#include <cstdint>
#include <vector>

namespace halfback {

// Returns a batch for the model; equal keys give equal batches.
MicroBatch synthetic_batch(const ModelConfig& config, std::int64_t num_samples, std::uint64_t key);

// Returns `count` micro-batches of `num_samples` each; equal seeds give equal ones.
struct MicroBatchSizes {
  int count = 1;
  std::int64_t num_samples = 1;
};
std::vector<MicroBatch> synthetic_micro_batches(const ModelConfig& config,
                                                const MicroBatchSizes& sizes,
                                                std::uint64_t seed);

}  // namespace halfback
