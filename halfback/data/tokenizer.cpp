#include "halfback/data/tokenizer.h"

#include "halfback/data/byte_text.h"

#include <algorithm>
#include <array>

namespace halfback {

namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer() {
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      bytes_[i] = static_cast<char>(static_cast<unsigned char>(i));
    }
  }

  std::int64_t vocabulary() const override { return ByteText::kVocabularySize; }
  std::vector<std::int32_t> encode(std::string_view text,
                                   const OnEncoded& /*on_encoded*/) const override {
    std::vector<std::int32_t> tokens(text.size());
    std::transform(text.begin(), text.end(), tokens.begin(),
                   [](char byte) { return static_cast<unsigned char>(byte); });
    return tokens;
  }
  std::string_view text_of(std::int64_t token) const override {
    return {&bytes_.at(static_cast<std::size_t>(token)), 1};
  }
  std::string name() const override { return "bytes"; }

 private:
  std::array<char, ByteText::kVocabularySize> bytes_ = {};
};

// Each token's text is its part of the whole text.
class PlainDecoder final : public TextDecoder {
 public:
  explicit PlainDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::string add(std::int64_t token) override {
    return std::string(tokenizer_.is_special(token) ? "" : tokenizer_.text_of(token));
  }

 private:
  const Tokenizer& tokenizer_;
};

}  // namespace

std::unique_ptr<TextDecoder> Tokenizer::decoder() const {
  return std::make_unique<PlainDecoder>(*this);
}

const TokenizerFiles& Tokenizer::files() const {
  static const TokenizerFiles none;
  return none;
}

TokenizerPointer byte_tokenizer() {
  static const auto bytes = std::make_shared<const ByteTokenizer>();
  return bytes;
}

}  // namespace halfback
