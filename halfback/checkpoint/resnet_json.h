// A ResNet's sizes in config.json as timm writes it: architecture, num_classes, num_features, and
// pretrained_cfg with input_size; plus width and small_image_stem, which timm does not have.
#pragma once

#include "halfback/models/resnet.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

nlohmann::json resnet_to_json(const ResnetConfig& config);

// Throws FileError beginning with `source` for a config of another architecture, with arguments
// that ours lacks (model_args), or without a required size.
ResnetConfig resnet_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace halfback
