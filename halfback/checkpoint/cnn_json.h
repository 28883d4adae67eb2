// A small convolutional network's sizes in config.json, as in resnet_json.h.
#pragma once

#include "halfback/models/cnn.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

nlohmann::json cnn_to_json(const CnnConfig& config);

// Throws FileError beginning with `source` for another architecture or without a size.
CnnConfig cnn_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace halfback
