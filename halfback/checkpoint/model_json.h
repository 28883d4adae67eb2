// The config.json of any model.
#pragma once

#include "halfback/models/model.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

nlohmann::json model_to_json(const ModelConfig& config);

// Throws FileError beginning with `source` for a model that Halfback does not know, and for
// anything that the reader of that model refuses.
ModelConfig model_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace halfback
