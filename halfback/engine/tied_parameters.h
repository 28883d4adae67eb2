// Parameters that two layers share, such as the matrix of embedding and head. Each stage has its
// own copy; at the end of a step both get the sum of their two gradients, and equal updates keep
// them equal. So the sum has one order wherever the two stand: what the first layer's weight
// gradients add up to, plus what the second's do.
#pragma once

#include "halfback/engine/stage.h"

#include <span>
#include <vector>

namespace halfback {

struct TiedPair {
  int stage = 0;  // of the original
  int copy_stage = 0;
  Parameter* original = nullptr;
  Parameter* copy = nullptr;
};

// Returns the pairs of a model, in the order of the copies. Throws ConfigError for a copy without
// an original of its name and shape.
std::vector<TiedPair> tied_pairs(std::span<Stage* const> stages);

// Makes the copies equal to their originals.
void copy_values(const std::vector<TiedPair>& pairs);

// For a pair on one rank: gives both gradients the sum.
void add_gradients(const TiedPair& pair);

}  // namespace halfback
