// A classifier with hidden layers, each linear with bias and ReLU, over flattened inputs: the
// smallest model that learns images.
#pragma once

#include "halfback/layers/stage_layers.h"
#include "halfback/models/model_size.h"

#include <vector>

namespace halfback {

struct MlpConfig {
  static constexpr const char* kName = "mlp";

  std::int64_t num_layers = 4;    // hidden layers, which are cut into stages
  std::int64_t num_inputs = 784;  // features of a flattened sample
  std::int64_t width = 256;       // of each hidden layer
  std::int64_t num_classes = 10;

  bool operator==(const MlpConfig&) const = default;
};

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(MlpConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const MlpConfig& config);

// Returns the number of trainable parameters.
std::int64_t num_parameters(const MlpConfig& config);

// Returns the stages for inputs [N, ...] and targets [N]; stage s has layers_per_stage[s] hidden
// layers, the last the classifier. Names in checkpoints: layers.I.weight, layers.I.bias,
// head.weight, head.bias. Parameters have no memory yet.
std::vector<StageLayers> build_mlp(const MlpConfig& config,
                                   const std::vector<int>& layers_per_stage);

}  // namespace halfback
