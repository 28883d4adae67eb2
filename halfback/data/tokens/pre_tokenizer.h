// Pre-tokenizers of tokenizer.json: they split a normalized text into words. Each word becomes
// tokens by itself.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <string>
#include <string_view>

namespace halfback {

// Valid UTF-8; `is_start` if the original text begins with it.
struct Piece {
  std::string_view text;
  bool is_start = false;
};
using OnPiece = std::function<void(const Piece&)>;

// Calls back with each part of a piece, in order. Thread-safe.
using PreTokenizer = std::function<void(const Piece&, const OnPiece&)>;

// `part` names the JSON in messages: "FILE: pre_tokenizer". Null splits nothing. Throws FileError
// for anything unsupported.
PreTokenizer make_pre_tokenizer(const nlohmann::json& json, const std::string& part);

}  // namespace halfback
