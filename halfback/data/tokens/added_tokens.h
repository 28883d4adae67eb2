// Tokens outside the model's vocabulary, such as <|endoftext|>. The tokenizer finds them in a whole
// text before it does anything else.
#pragma once

#include "halfback/data/tokens/normalizer.h"
#include "halfback/data/tokens/prefix_table.h"
#include "halfback/data/tokens/token_model.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

struct AddedToken {
  std::string content;
  bool is_single_word = false;
  bool strips_left = false;
  bool strips_right = false;
  bool is_normalized = true;
  bool is_special = false;
};

// Reads {"content": ..., "lstrip": ..., ...}, or a string, which is a special token. Throws
// FileError beginning with `part`.
AddedToken parse_added_token(const nlohmann::json& json, const std::string& part);

class AddedTokens {
 public:
  // Adds a token with the id of its content in the model's vocabulary, or the next free id. Returns
  // the id.
  std::int32_t add(AddedToken token, const TokenModel& model);

  // Prepares find(). Call it once all tokens are added.
  void finish(const Normalizer& normalizer);

  const std::map<std::int32_t, AddedToken>& tokens() const { return tokens_; }
  // Returns the id of a token, or -1.
  std::int32_t id_of(std::string_view content) const;

  // Calls on_part with the parts of a text in order, and the token of each, or -1. `is_normalized`
  // selects which tokens are found.
  using OnPart = std::function<void(std::size_t begin, std::size_t end, std::int32_t token)>;
  void find(std::string_view text, bool is_normalized, const OnPart& on_part) const;

 private:
  std::map<std::int32_t, AddedToken> tokens_;
  std::map<std::string, std::int32_t, std::less<>> ids_;
  PrefixTable plain_;
  PrefixTable normalized_;
};

}  // namespace halfback
