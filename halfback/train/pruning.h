// Pruning before training: a fraction of the weights is held at 0 from the beginning.
// Source of SNIP: Lee, Ajanthan, Torr, "SNIP: Single-shot network pruning based on connection
// sensitivity", ICLR 2019.
#pragma once

#include "halfback/checkpoint/peers.h"
#include "halfback/engine/pipeline.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace halfback {

// What scores a weight w; those with the highest scores stay.
enum class PruneMethod {
  Snip,       // |w dL/dw|, dL/dw over some batches at the initial values
  Random,     // a number drawn by seed, parameter and element
  Magnitude,  // |w|
};

// Returns "snip", "random" or "magnitude".
std::string to_string(PruneMethod method);

struct PruneOptions {
  double sparsity = 0.0;  // the fraction that is held at 0; 0 prunes nothing
  PruneMethod method = PruneMethod::Snip;
  std::int64_t num_samples = 0;  // of training data, that SNIP takes gradients of; 0: an epoch
};

// How many of the weights and biases that train are left. Heads inside the model and copies do not
// count; a copy is pruned as its original is.
struct Pruned {
  std::int64_t num_kept = 0;  // round((1 - sparsity) num_weights)
  std::int64_t num_weights = 0;
  std::vector<std::string> emptied;  // names of matrices of which nothing is left
};

// Chooses which weights of the whole model stay, by one ranking of their scores, and takes the mask
// in all stages of a pipeline that is_pruned. Of equal scores the first in the model stay. Stages,
// ranks, replicas and processes do not matter: with the bits of the gradients, the choice is the
// same. All peers call it together.
struct PruneData {
  std::int64_t num_batches = 1;
  std::function<std::vector<MicroBatch>(std::int64_t)> batch;  // of a step, from 1
};
Pruned prune(Pipeline& pipeline,
             const PruneOptions& options,
             std::uint64_t seed,
             const PruneData& data,
             Peers& peers);

}  // namespace halfback
