// How text becomes token ids and back: a token for each byte, or the pieces of a SentencePiece
// model. Any bytes come back as they were, unless a model says otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

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

  // Calls `on_encoded` on the way with the bytes that are done.
  using OnEncoded = std::function<void(std::int64_t)>;
  virtual std::vector<std::int32_t> encode(std::string_view text,
                                           const OnEncoded& on_encoded = {}) const = 0;

  // Returns what a token adds to a text. It may be part of a character.
  virtual std::string_view text_of(std::int64_t token) const = 0;

  // Returns the SentencePiece model; nothing for bytes.
  virtual std::string_view model() const = 0;

  // Returns "bytes" or "sentencepiece".
  virtual std::string name() const = 0;
};

using TokenizerPointer = std::shared_ptr<const Tokenizer>;

// Returns the tokenizer whose ids are the bytes.
TokenizerPointer byte_tokenizer();

}  // namespace halfback
