// The first layers of the runs of a study of images, and how alike they are to those of backprop.
//
// A run leaves a file with two tensors, in float32:
//
//   weights      [outputs, channels, height, width]: of its first layer. That of an MLP reads whole
//                images, a convolution windows of them.
//   activations  [samples, features]: what the first block gives to the next one (of an MLP, after
//                the ReLU; of a ResNet, after the first residual block), for the first
//                kFirstLayerSamples samples of the validation set, none of them augmented
#pragma once

#include "halfback/train/training_config.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <vector>

namespace halfback {

inline constexpr std::int64_t kFirstLayerSamples = 500;
inline constexpr std::int64_t kMaxFirstLayerDirections = 25;
inline constexpr std::int64_t kNumFilters = 25;

// Throws ConfigError for a model that does not read images.
void require_first_layer(const TrainingConfig& config);

// Returns the path of the file of a run in the directory of its study.
std::filesystem::path first_layer_path(const std::filesystem::path& study, int run);

// Writes the file, or replaces it, whole or not at all; makes its directory. The pipeline is one of
// this configuration, all in this process, and no step of it has begun.
void save_first_layer(const TrainingConfig& config,
                      Pipeline& pipeline,
                      const std::filesystem::path& path);

// Returns the rows of a study by run, with what the files in its directory say. A run is compared
// with that of backprop at the same place but for the axis "scheme"; a run of backprop, to show
// what the seed alone does, with the next run of backprop at the same place but for the axis
// "seed". It gets
//
//   first_layer_cka            of the activations (similarity.h)
//   first_layer_angle          mean and
//   first_layer_largest_angle  largest of the angles between the spaces of the first k right
//                              singular vectors of both weights as [outputs, inputs]; k is
//                              kMaxFirstLayerDirections, or all that the smaller one has. Without k
//                              below the inputs, both spaces are everything, and there are none.
//
// where both runs have a file, did not diverge, and saw as many samples or inputs. The first run of
// each scheme also gets "filters": {"width", "height", "data"}, up to kNumFilters rows of weights,
// largest norm first, channels below each other, a byte for each weight, in base64. 128 is 0, and 1
// or 255 the weight that is largest without its sign.
std::vector<nlohmann::json> with_first_layers(std::vector<nlohmann::json> rows,
                                              const std::filesystem::path& study);

}  // namespace halfback
