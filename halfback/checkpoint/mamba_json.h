// A Mamba's sizes as Hugging Face's config.json has them.
//
// The state space's parameters hold for every length, so Hugging Face knows no longest sequence;
// ours stands under "max_position_embeddings", which it keeps without reading it. A head is tied
// there unless the file says no.
#pragma once

#include "halfback/models/mamba.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

nlohmann::json mamba_to_json(const MambaConfig& config);

// Throws FileError beginning with `source` for a config of another architecture, with a feature
// that ours lacks (biases of the projections, a convolution without one, another activation), or
// without a size that is needed.
MambaConfig mamba_from_json(const nlohmann::json& json, const std::string& source);

}  // namespace halfback
