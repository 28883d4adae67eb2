// Decoders of tokenizer.json: they make text from tokens, one by one.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

// A step of a decoder for one text: it takes tokens and passes tokens on.
class DecoderStep {
 public:
  using OnToken = std::function<void(std::string)>;
  virtual ~DecoderStep() = default;
  virtual void add(std::string token, const OnToken& on_token) = 0;
  virtual void finish(const OnToken& /*on_token*/) {}
};
using MakeDecoderStep = std::function<std::unique_ptr<DecoderStep>()>;

// Returns what makes the steps for a text; what the last one hands on is the text. `part` names
// the JSON in messages: "FILE: decoder". Null puts spaces between tokens. Throws FileError for what
// is not supported.
std::vector<MakeDecoderStep> make_token_decoder(const nlohmann::json& json,
                                                const std::string& part);

// Returns the byte that a token of byte_fallback is, as "<0x41>"; nothing for others.
std::optional<char> byte_of(const std::string& token);

// Returns a text without the spaces that tokens leave in front of signs: "it 's ." is "it's.".
std::string clean_up(std::string text);

// Steps in a row.
class DecoderChain {
 public:
  explicit DecoderChain(const std::vector<MakeDecoderStep>& makers);
  // Both return the text that comes out.
  std::string add(std::string token);
  std::string finish();

 private:
  void add_from(std::size_t step, std::string token, std::string& text);
  std::vector<std::unique_ptr<DecoderStep>> steps_;
};

}  // namespace halfback
