// Tokenizers in checkpoints: tokenizer.json, else tokenizer.model, else vocab.txt, else GPT-2's
// vocab.json and merges.txt, each with tokenizer_config.json and special_tokens_map.json beside it.
// The tokenizer keeps all of these files, byte for byte.
#pragma once

#include "halfback/data/tokenizer.h"

#include <filesystem>

namespace halfback {

// Returns the tokenizer of a directory, or null if it has none of the files. Throws FileError for
// files of another kind and for unsupported ones.
TokenizerPointer find_tokenizer(const std::filesystem::path& directory);

// Reads the tokenizer of a directory, or of a file: tokenizer.json or another .json of its kind,
// vocab.txt, or a SentencePiece model. With a tokenizer.json it keeps a tokenizer_config.json that
// names its class, so that it means the same in any checkpoint. Throws FileError.
TokenizerPointer load_tokenizer_of(const std::filesystem::path& path);

}  // namespace halfback
