// A LLaMA's sizes as in Hugging Face's config.json.
#pragma once

#include "halfback/models/llama.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

nlohmann::json llama_to_json(const LlamaConfig& config);

// Throws FileError beginning with `source` for a config of another architecture, with a feature
// that ours lacks (attention biases, scaled rotary positions, another activation), or without a
// required size.
LlamaConfig llama_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace halfback
