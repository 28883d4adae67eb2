// A small convolutional network for images: blocks of a 5x5 convolution, ReLU and 2x2 max-pool,
// then a hidden layer with ReLU and a linear classifier. With its default sizes it is the Simple
// CNN of Shallue et al., "Measuring the Effects of Data Parallelism on Neural Network Training",
// arXiv:1811.03600.
#pragma once

#include "halfback/layers/stage_layers.h"
#include "halfback/models/model_size.h"

#include <vector>

namespace halfback {

struct CnnConfig {
  static constexpr const char* kName = "cnn";

  std::int64_t num_layers = 2;  // convolutions; each halves height and width
  std::int64_t width = 32;      // channels of the first; doubles with each
  std::int64_t hidden = 1024;   // channels of the hidden layer
  std::int64_t num_classes = 10;
  std::int64_t image_channels = 1;
  std::int64_t image_height = 28;
  std::int64_t image_width = 28;

  bool operator==(const CnnConfig&) const = default;
};

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(CnnConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const CnnConfig& config);

// Returns the number of blocks, which are cut into stages: the convolutions and the hidden layer.
int num_blocks(const CnnConfig& config);

// Returns the number of trainable parameters.
std::int64_t num_parameters(const CnnConfig& config);

// Returns the stages for images [N, channels, height, width] and targets [N]; stage s has
// blocks_per_stage[s] blocks, the last the classifier. Names in checkpoints: layers.I.weight,
// layers.I.bias, hidden..., head... Parameters have no memory yet.
std::vector<StageLayers> build_cnn(const CnnConfig& config,
                                   const std::vector<int>& blocks_per_stage);

}  // namespace halfback
