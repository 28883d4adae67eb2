// The parameters of a whole model, which every process knows even for stages it does not hold: what
// their initial values are drawn from, which are tied, and which stages read the output matrix.
//
// Two layers may share a parameter, such as the matrix of embedding and head. Each of their stages
// has its own copy. At the end of a step both get the sum of their two gradients, and equal updates
// keep them equal. The sum has one order wherever the two are: the first layer's whole gradient
// plus the second's.
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
  // By stage and parameter: its number in the model. A copy has its original's number. Those of
  // local heads come after the model's, so that equal seeds give models equal values with or
  // without heads.
  std::vector<std::vector<std::uint64_t>> numbers;
  std::vector<TiedPair> tied;  // in the order of the copies
  // Stages whose heads read a copy of the last stage's output matrix (LossLayer::output_matrix).
  std::vector<int> readers = {};

  std::size_t num_parameters(int stage) const {
    return numbers[static_cast<std::size_t>(stage)].size();
  }
};

// Lays out a model and gives copies the initialization of their originals. Throws ConfigError for a
// copy without an earlier parameter of its name and shape, or without an output matrix of its
// shape.
ModelLayout lay_out(std::vector<StageLayers>& stages);

}  // namespace halfback
