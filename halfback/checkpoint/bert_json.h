// A BERT's sizes as in Hugging Face's config.json.
#pragma once

#include "halfback/models/bert.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

// A model with RMSNorm or fixed positions has its own model_type, since Hugging Face's BERT would
// silently load it and compute something else.
nlohmann::json bert_to_json(const BertConfig& config);

// Throws FileError beginning with `source` for a config with a feature that ours lacks, or without
// a required size. A BertModel has no head.
BertConfig bert_from_json(const nlohmann::json& json, const std::string& source);

inline constexpr const char* kBertType = "bert";
inline constexpr const char* kBertVariantType = "halfback_bert";

}  // namespace halfback
