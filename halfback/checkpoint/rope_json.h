// Rotary positions in a config.json. Newer files have everything in rope_parameters; older ones
// have rope_scaling and, beside it, rope_theta. If both are there, rope_scaling counts, as in
// transformers.
#pragma once

#include "halfback/models/llama.h"

#include <nlohmann/json.hpp>

#include <string>

namespace halfback {

// Reads the base, the scaling, and the length above which dynamic scaling would change the
// positions. `config` already has its positions. Throws FileError, naming the key, for an unknown
// form.
void read_rope(const nlohmann::json& json, const std::string& source, LlamaConfig& config);

}  // namespace halfback
