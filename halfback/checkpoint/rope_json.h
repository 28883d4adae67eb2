// Rotary positions in a config.json. Newer files keep all in rope_parameters, older ones have
// rope_scaling and, beside it, rope_theta; what both say, rope_scaling says, as in transformers.
#pragma once

#include "halfback/models/llama.h"

#include <nlohmann/json.hpp>

#include <string>

namespace halfback {

// Reads the base, the scaling, and the length from which dynamic scaling would change the
// positions. `config` has its positions already. Throws FileError, naming the key, for a form that
// is not known.
void read_rope(const nlohmann::json& json, const std::string& source, LlamaConfig& config);

}  // namespace halfback
