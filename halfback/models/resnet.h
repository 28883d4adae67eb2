// Residual networks for images: stem, blocks in groups, mean over the pixels, linear classifier.
// Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385: four groups
// for ImageNet (table 1), where bottlenecks stride in their 3x3 convolution, as in torchvision, and
// three for CIFAR (section 4.2), here with shortcuts by convolution. Parameter names in checkpoints
// are those of torchvision's resnet18 ... resnet152.
#pragma once

#include "halfback/layers/stage_layers.h"
#include "halfback/models/model_size.h"

#include <vector>

namespace halfback {

struct ResnetConfig {
  static constexpr const char* kName = "resnet";

  // 18 or 34: basic blocks; 50, 101 or 152: bottlenecks; 8, 20, 32, 44, 56 or 110: basic blocks in
  // three groups
  std::int64_t depth = 18;
  std::int64_t width = 64;  // channels inside the first group's blocks; doubles with each group
  std::int64_t num_classes = 10;
  std::int64_t image_channels = 1;
  std::int64_t image_height = 28;
  std::int64_t image_width = 28;
  // A 3x3 convolution without stride or pooling, for images of about 32 x 32 pixels, instead of 7x7
  // with stride 2 and max-pool.
  bool has_small_stem = true;

  bool operator==(const ResnetConfig&) const = default;
};

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(ResnetConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const ResnetConfig& config);

// Returns the number of residual blocks, which are cut into stages.
int num_blocks(const ResnetConfig& config);

// Returns the channels in front of the classifier.
std::int64_t num_features(const ResnetConfig& config);

// Returns the number of trainable parameters, without running statistics.
std::int64_t num_parameters(const ResnetConfig& config);

// Returns the stages for images [N, channels, height, width] and targets [N]; stage s has
// blocks_per_stage[s] residual blocks, the first the stem, the last the classifier. Parameters
// have no memory yet.
std::vector<StageLayers> build_resnet(const ResnetConfig& config,
                                      const std::vector<int>& blocks_per_stage);

}  // namespace halfback
