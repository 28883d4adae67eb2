// Models of tokenizer.json: they split one word into tokens.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace halfback {

struct HashOfText {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};
using TokenIds = std::unordered_map<std::string, std::int32_t, HashOfText, std::equal_to<>>;

// Thread-safe.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the tokens of a word, which is valid UTF-8 and not empty. Throws FileError if the model
  // has neither tokens for it nor an unknown token.
  virtual void encode(std::string_view word, std::vector<std::int32_t>& tokens) const = 0;

  // Returns the length of a beginning of the word that can be encoded apart from the rest: neither
  // changes the tokens of the other.
  virtual std::size_t independent_length(std::string_view word) const { return word.size(); }

  const TokenIds& ids() const { return ids_; }
  // Returns the id of a word, or -1.
  std::int32_t id_of(std::string_view word) const {
    const auto found = ids_.find(word);
    return found == ids_.end() ? -1 : found->second;
  }

 protected:
  explicit TokenModel(TokenIds ids) : ids_(std::move(ids)) {}

 private:
  TokenIds ids_;
};

using TokenModelPointer = std::shared_ptr<const TokenModel>;

// Our own key of a Unigram. With it, scores are the numbers nearest to their digits, as Python
// reads them; the tokenizers library rounds differently.
inline constexpr const char* kExactScores = "halfback_exact_scores";

// `part` names the JSON in messages: "FILE: model". Throws FileError for anything unsupported.
TokenModelPointer make_token_model(const nlohmann::json& json, const std::string& part);

// The same for each kind.
class Fields;
TokenModelPointer make_bpe(Fields& fields);
TokenModelPointer make_word_piece(Fields& fields);
TokenModelPointer make_unigram(Fields& fields);

namespace detail {
// Reads {"word": id, ...}.
TokenIds read_ids(Fields& fields);
// Appends "<0x41>" and so on for each byte. If one is missing, appends nothing and returns false.
bool append_bytes(std::string_view bytes, const TokenIds& ids, std::vector<std::int32_t>& tokens);
}  // namespace detail

}  // namespace halfback
