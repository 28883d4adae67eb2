// Converts text to token ids and back: a token for each byte, or the tokens that a model's files
// define (tokenizer_files.h). encode() gives only the ids of the text; other functions give those
// that a model expects around it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// The files of a tokenizer: bytes by name.
using TokenizerFiles = std::map<std::string, std::string>;

// Turns tokens into text, one by one. Not thread-safe.
class TextDecoder {
 public:
  virtual ~TextDecoder() = default;
  // Returns the text that is certain after this token.
  virtual std::string add(std::int64_t token) = 0;
  // Returns the rest.
  virtual std::string finish() { return {}; }
};

// Thread-safe.
class Tokenizer {
 public:
  Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  virtual ~Tokenizer() = default;

  // Ids are 0 to vocabulary() - 1.
  virtual std::int64_t vocabulary() const = 0;

  // Returns the id of the mask, which hides a token from a model that learns to predict it: one in
  // the vocabulary, or the first after it.
  virtual std::int64_t mask_token() const { return vocabulary(); }

  // Returns the ids that the model expects before and after a text.
  virtual std::vector<std::int32_t> prefix() const { return {}; }
  virtual std::vector<std::int32_t> suffix() const { return {}; }

  // Returns whether a token is a mark for the model, such as [CLS] or </s>, rather than text.
  virtual bool is_special(std::int64_t /*token*/) const { return false; }

  // Calls `on_encoded` while encoding, with the number of bytes done so far.
  using OnEncoded = std::function<void(std::int64_t)>;
  virtual std::vector<std::int32_t> encode(std::string_view text,
                                           const OnEncoded& on_encoded = {}) const = 0;

  // Returns the bytes that a token adds in the middle of a text. They may be part of a character.
  virtual std::string_view text_of(std::int64_t token) const = 0;

  // Returns a decoder, which skips special tokens. The tokenizer must outlive it.
  virtual std::unique_ptr<TextDecoder> decoder() const;

  // Returns the files that a checkpoint contains; none for bytes.
  virtual const TokenizerFiles& files() const;

  // Returns a fingerprint of the ids, equal for tokenizers that make the same tokens.
  virtual std::string identity() const { return {}; }

  // Returns "bytes", "sentencepiece" or the name of the file that defines it.
  virtual std::string name() const = 0;
};

using TokenizerPointer = std::shared_ptr<const Tokenizer>;

// Returns the tokenizer whose ids are the bytes.
TokenizerPointer byte_tokenizer();

}  // namespace halfback
