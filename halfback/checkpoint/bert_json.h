// A BERT's sizes as Hugging Face's config.json has them.
#pragma once

#include "halfback/models/bert.h"

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace halfback {

// A model with RMSNorm or fixed positions has a model_type of its own, since Hugging Face's BERT
// would read it without a word and compute something else.
nlohmann::json bert_to_json(const BertConfig& config);

// Throws FileError beginning with `source` for a config with a feature that ours lacks, or without
// a size that is needed. A BertModel has no head.
BertConfig bert_from_json(const nlohmann::json& json, const std::string& source);

inline constexpr const char* kBertType = "bert";
inline constexpr const char* kBertVariantType = "halfback_bert";

}  // namespace halfback
