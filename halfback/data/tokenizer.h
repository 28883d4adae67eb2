// How text becomes token ids and back: a token for each byte, or the tokens of a model's files
// (see tokenizer_files.h). Ids are those of the text alone; what a model wants to see around it is
// said beside them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// The files that a tokenizer came from, or is kept in: bytes by name.
using TokenizerFiles = std::map<std::string, std::string>;

// Makes text of tokens as they come. Not thread-safe.
class TextDecoder {
 public:
  virtual ~TextDecoder() = default;
  // Returns the text that is certain once the token is known.
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

  // Returns the id that hides a token from a model that learns to tell it: one of the vocabulary,
  // or the first behind it.
  virtual std::int64_t mask_token() const { return vocabulary(); }

  // Returns the ids that the model has learned to see in front of a text and behind it.
  virtual std::vector<std::int32_t> prefix() const { return {}; }
  virtual std::vector<std::int32_t> suffix() const { return {}; }

  // Returns whether a token is a sign to the model, as [CLS] or </s>, and no text.
  virtual bool is_special(std::int64_t /*token*/) const { return false; }

  // Calls `on_encoded` on the way with the bytes that are done.
  using OnEncoded = std::function<void(std::int64_t)>;
  virtual std::vector<std::int32_t> encode(std::string_view text,
                                           const OnEncoded& on_encoded = {}) const = 0;

  // Returns what a token adds to a text in the middle of it. It may be part of a character.
  virtual std::string_view text_of(std::int64_t token) const = 0;

  // Returns what makes text of tokens; special ones are left out. The tokenizer must outlive it.
  virtual std::unique_ptr<TextDecoder> decoder() const;

  // Returns what a checkpoint keeps of the tokenizer; nothing for bytes.
  virtual const TokenizerFiles& files() const;

  // Returns what decides about ids: the same text for tokenizers that make the same tokens.
  virtual std::string identity() const { return {}; }

  // Returns "bytes", "sentencepiece" or the name of the file that defines it.
  virtual std::string name() const = 0;
};

using TokenizerPointer = std::shared_ptr<const Tokenizer>;

// Returns the tokenizer whose ids are the bytes.
TokenizerPointer byte_tokenizer();

}  // namespace halfback
