// A multilayer perceptron's sizes in config.json, as in resnet_json.h.
#pragma once

#include "halfback/models/mlp.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

nlohmann::json mlp_to_json(const MlpConfig& config);

// Throws FileError beginning with `source` for another architecture or without a size.
MlpConfig mlp_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace halfback
