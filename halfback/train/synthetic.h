// Made-up micro-batches for measurements: of the right shapes, with nothing to learn.
#pragma once

#include "halfback/data/dataset.h"
#include "halfback/models/model.h"

namespace halfback {

// Returns a batch for the model; equal keys give equal batches.
Batch synthetic_batch(const ModelConfig& config, std::int64_t num_samples, std::uint64_t key);

}  // namespace halfback
