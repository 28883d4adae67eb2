// The tokenizer of a tokenizer.json, as Hugging Face's tokenizers library writes it, with the files
// that transformers reads beside it. Ids and texts equal those of transformers; anything that would
// differ is refused by name.
//
// A text is encoded as Python would read it, with U+FFFD for bytes that are not UTF-8. It is
// encoded whole, in memory that grows with its length.
#pragma once

#include "halfback/data/tokenizer.h"

#include <nlohmann/json.hpp>

#include <string>

namespace halfback {

struct TokenizerParts {
  nlohmann::json tokenizer;                          // tokenizer.json
  nlohmann::json config = nlohmann::json::object();  // tokenizer_config.json
  TokenizerFiles files;
  std::string name;    // of the file that defines ids
  std::string source;  // that file's path, for messages
};

// Throws FileError beginning with the source for anything unsupported.
TokenizerPointer make_json_tokenizer(TokenizerParts parts);

}  // namespace halfback
