#include "halfback/data/tokens/token_model.h"

#include "halfback/data/tokens/fields.h"

#include <array>

namespace halfback {

namespace detail {

TokenIds read_ids(Fields& fields) {
  const nlohmann::json& vocabulary = fields.find("vocab");
  if (!vocabulary.is_object() || vocabulary.empty()) {
    fields.refuse(vocabulary.empty() ? "an empty vocab" : "vocab " + quote(vocabulary.dump()),
                  "an object of words and ids");
  }
  TokenIds ids;
  for (const auto& [word, id] : vocabulary.items()) {
    if (!id.is_number_integer() || id < 0 || id > 4'000'000) {
      fields.refuse(fmt::format("vocab {}: {}", quote(word), quote(id.dump())),
                    "an id from 0 to 4000000");
    }
    ids[word] = id.get<std::int32_t>();
  }
  return ids;
}

bool append_bytes(std::string_view bytes, const TokenIds& ids, std::vector<std::int32_t>& tokens) {
  const std::size_t before = tokens.size();
  for (const char byte : bytes) {
    const auto found = ids.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte)));
    if (found == ids.end()) {
      tokens.resize(before);
      return false;
    }
    tokens.push_back(found->second);
  }
  return true;
}

}  // namespace detail

namespace {

// For files written before the library wrote types.
std::string guess_type(const nlohmann::json& json) {
  return json.contains("merges")                     ? "BPE"
         : json.contains("unk_id")                   ? "Unigram"
         : json.contains("max_input_chars_per_word") ? "WordPiece"
                                                     : "";
}

}  // namespace

TokenModelPointer make_token_model(const nlohmann::json& json, const std::string& part) {
  Fields fields(json, part);
  const std::string type = fields.type().empty() ? guess_type(json) : fields.type();
  constexpr auto kKinds = std::to_array<Kind<TokenModelPointer>>(
      {{"BPE", make_bpe}, {"Unigram", make_unigram}, {"WordPiece", make_word_piece}});
  TokenModelPointer made = fields.choose("type", type, kKinds)(fields);
  fields.finish();
  return made;
}

}  // namespace halfback
