// A Mamba's sizes as in Hugging Face's config.json.
//
// The state space's parameters work for every length, so Hugging Face has no maximum sequence
// length; ours is stored under kSequenceKey. There, a head is tied unless the file says otherwise.
#pragma once

#include "halfback/models/mamba.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

nlohmann::json mamba_to_json(const MambaConfig& config);

// Throws FileError beginning with `source` for a config of another architecture, with a feature
// that ours lacks (biases of the projections, a convolution without one, another activation), or
// without a required size.
MambaConfig mamba_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace halfback
