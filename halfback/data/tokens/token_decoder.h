// Decoders of tokenizer.json: they turn tokens into text, one by one.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

// One step of decoding one text: it takes tokens and passes tokens on.
class DecoderStep {
 public:
  using OnToken = std::function<void(std::string)>;
  virtual ~DecoderStep() = default;
  virtual void add(std::string token, const OnToken& on_token) = 0;
  virtual void finish(const OnToken& /*on_token*/) {}
};
using MakeDecoderStep = std::function<std::unique_ptr<DecoderStep>()>;

// Returns factories of the steps for one text; the output of the last step is the text. `part`
// names the JSON in messages: "FILE: decoder". Null puts spaces between tokens. Throws FileError
// for anything unsupported.
std::vector<MakeDecoderStep> make_token_decoder(const nlohmann::json& json,
                                                const std::string& part);

// Returns the byte of a byte_fallback token, such as "<0x41>"; nothing for others.
std::optional<char> byte_of(const std::string& token);

// Returns a text without the spaces that tokens leave before punctuation: "it 's ." is "it's.".
std::string clean_up(std::string text);

// Runs the steps in a row.
class DecoderChain {
 public:
  explicit DecoderChain(const std::vector<MakeDecoderStep>& makers);
  // Both return the resulting text.
  std::string add(std::string token);
  std::string finish();

 private:
  void add_from(std::size_t step, std::string token, std::string& text);
  std::vector<std::unique_ptr<DecoderStep>> steps_;
};

}  // namespace halfback
