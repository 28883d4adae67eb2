// What the tokenizer classes of transformers read from a tokenizer's files. Some take only the
// vocabulary from tokenizer.json and build the rest from tokenizer_config.json.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace halfback {

// The class that uses a tokenizer.json unchanged.
inline constexpr const char* kAsItIs = "PreTrainedTokenizerFast";

// Returns the tokenizer_class of a configuration, without its language suffix, or "".
std::string class_of(const nlohmann::json& config);

// Returns whether a part of a tokenizer.json, such as "decoder", is or contains one of a type.
bool uses(const nlohmann::json& tokenizer, const char* part, std::string_view type);

// Changes a tokenizer.json as the class that AutoTokenizer chooses for it would; `model` is
// config.json, or null. Adds the token names that the class has by default to the config. Returns
// the name of the class. Throws FileError beginning with the source, also for an unknown class.
std::string rebuild_as_class(nlohmann::json& tokenizer,
                             nlohmann::json& config,
                             const nlohmann::json& model,
                             const std::string& source);

// Returns the tokenizer.json that transformers makes from BERT's vocab.txt and added tokens. Throws
// FileError beginning with the source.
nlohmann::json of_vocabulary(const std::string& text,
                             const nlohmann::json& added,
                             nlohmann::json& config,
                             const std::string& source);

// Returns the tokenizer.json that transformers makes from GPT-2's vocab.json and merges.txt.
nlohmann::json of_merges(const nlohmann::json& words,
                         std::string_view merges,
                         nlohmann::json& config);

}  // namespace halfback
