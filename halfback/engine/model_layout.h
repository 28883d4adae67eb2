// The parameters of a whole model, as every process knows them whether their stages are here or
// not: what their initial values are drawn from, and which of them are one.
//
// Two layers may share a parameter, such as the matrix of embedding and head. Each of the two
// stages has its own copy; at the end of a step both get the sum of their two gradients, and equal
// updates keep them equal. So the sum has one order wherever the two stand: what the first layer's
// weight gradients add up to, plus what the second's do.
#pragma once

#include "halfback/layers/stage_layers.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace halfback {

struct TiedPair {
  struct Place {
    int stage = 0;
    std::size_t parameter = 0;  // of the stage, in model order
  };
  Place original;
  Place copy;
};

struct ModelLayout {
  // By stage and parameter: its number in the model, which a copy has from its original.
  std::vector<std::vector<std::uint64_t>> numbers;
  std::vector<TiedPair> tied;  // in the order of the copies

  std::size_t num_parameters(int stage) const {
    return numbers[static_cast<std::size_t>(stage)].size();
  }
};

// Lays out a model and has its copies begin as their originals do. Throws ConfigError for a copy
// without an earlier parameter of its name and shape.
ModelLayout lay_out(std::vector<StageLayers>& stages);

}  // namespace halfback
