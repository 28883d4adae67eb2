// What the classes of transformers make of a tokenizer's files. Some of them take only the
// vocabulary out of a tokenizer.json, and build the rest from tokenizer_config.json anew.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace halfback {

// The class that leaves a tokenizer.json as it is.
inline constexpr const char* kAsItIs = "PreTrainedTokenizerFast";

// Returns the tokenizer_class of a configuration, without what it says about its language; "" for
// none.
std::string class_of(const nlohmann::json& config);

// Returns whether a part of a tokenizer.json, as "decoder", is of a type or has such a part.
bool uses(const nlohmann::json& tokenizer, const char* part, std::string_view type);

// Makes of a tokenizer.json what the class gives that AutoTokenizer takes for it, `model` being
// config.json, or null. Names of tokens that the class knows by itself come into the config.
// Returns the name of the class. Throws FileError beginning with the source, also for a class that
// we do not know.
std::string rebuild_as_class(nlohmann::json& tokenizer,
                             nlohmann::json& config,
                             const nlohmann::json& model,
                             const std::string& source);

// Returns the tokenizer.json that transformers makes of BERT's vocab.txt and added tokens. Throws
// FileError beginning with the source.
nlohmann::json of_vocabulary(const std::string& text,
                             const nlohmann::json& added,
                             nlohmann::json& config,
                             const std::string& source);

// Returns the tokenizer.json that transformers makes of GPT-2's vocab.json and merges.txt.
nlohmann::json of_merges(const nlohmann::json& words,
                         std::string_view merges,
                         nlohmann::json& config);

}  // namespace halfback
