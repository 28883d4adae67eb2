// Normalizers of tokenizer.json: they change a text before it is split into words.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace halfback {

// Changes valid UTF-8 to valid UTF-8. Thread-safe.
using Normalizer = std::function<std::string(std::string)>;

// `part` names the JSON in messages: "FILE: normalizer". Null changes nothing. Throws FileError for
// anything unsupported.
Normalizer make_normalizer(const nlohmann::json& json, const std::string& part);

// Returns the normalizer that a SentencePiece model contains, from its bytes in base64: rules in a
// double-array trie, applied to each grapheme cluster. Throws FileError.
Normalizer make_precompiled(std::string_view base64, const std::string& part);

}  // namespace halfback
