// Tokenizers of SentencePiece models: read from a file, such as LLaMA's tokenizer.model, or
// trained. Source: Kudo and Richardson, "SentencePiece", arXiv:1808.06226.
//
// Text is encoded in blocks of 64 KiB that end at a line end, so time and memory grow linearly with
// its length. Inside pieces, U+2581 represents a space. If a model has pieces for single bytes,
// they encode U+2581 itself and bytes that are not UTF-8. If a model adds a space in front of a
// text, the text is encoded whole, as Python would read it.
#pragma once

#include "halfback/data/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace halfback {

inline constexpr const char* kSentencePieceFile = "tokenizer.model";

// Returns the tokenizer of a model. A tokenizer_config.json among the files says which tokens
// surround a text. Throws FileError beginning with `source` for bytes that are not a SentencePiece
// model, and for a config with which transformers would give other ids.
TokenizerPointer parse_sentence_piece(TokenizerFiles files, const std::string& source);

// Reads a model file. Throws FileError.
TokenizerPointer load_sentence_piece(const std::filesystem::path& path);

// Learns `vocabulary` pieces of the text by byte-pair encoding: ids 0, 1 and 2 are <unk>, <s> and
// </s>, as in LLaMA, and the next 256 are the bytes. It does not normalize, so decoding restores
// any bytes. Equal texts give equal models. Learns from the first GiB. Throws ConfigError if the
// text is too small for the vocabulary.
TokenizerPointer train_sentence_piece(std::string_view text, std::int64_t vocabulary);

}  // namespace halfback
