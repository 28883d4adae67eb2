#include "halfback/data/tokens/added_tokens.h"

#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

bool ends_with_word(std::string_view text) { return !text.empty() && is_word(back(text)); }
bool begins_with_word(std::string_view text) { return !text.empty() && is_word(front(text)); }

}  // namespace

AddedToken parse_added_token(const nlohmann::json& json, const std::string& part) {
  if (json.is_string()) {
    return {.content = json.get<std::string>(), .is_normalized = false, .is_special = true};
  }
  Fields fields(json, part);
  fields.ignore({"id", "__type"});
  AddedToken token{.content = fields.get<std::string>("content"),
                   .is_single_word = fields.get<bool>("single_word", false),
                   .strips_left = fields.get<bool>("lstrip", false),
                   .strips_right = fields.get<bool>("rstrip", false),
                   .is_special = fields.get<bool>("special", false)};
  token.is_normalized = fields.get<bool>("normalized", !token.is_special);
  fields.finish();
  return token;
}

std::int32_t AddedTokens::add(AddedToken token, const TokenModel& model) {
  std::int32_t id = id_of(token.content);
  id = id >= 0 ? id : model.id_of(token.content);
  if (id < 0) {
    const std::int32_t next = tokens_.empty() ? 0 : tokens_.rbegin()->first + 1;
    id = std::max(static_cast<std::int32_t>(model.ids().size()), next);
  }
  ids_[token.content] = id;
  tokens_[id] = std::move(token);
  return id;
}

void AddedTokens::finish(const Normalizer& normalizer) {
  std::vector<std::pair<std::string, std::int32_t>> plain;
  std::vector<std::pair<std::string, std::int32_t>> normalized;
  for (const bool is_special : {true, false}) {
    for (const auto& [id, token] : tokens_) {
      if (token.is_special == is_special) {
        (token.is_normalized ? normalized : plain)
            .emplace_back(token.is_normalized ? normalizer(token.content) : token.content, id);
      }
    }
  }
  plain_ = PrefixTable(std::move(plain));
  normalized_ = PrefixTable(std::move(normalized));
}

std::int32_t AddedTokens::id_of(std::string_view content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? -1 : found->second;
}

void AddedTokens::find(std::string_view text, bool is_normalized, const OnPart& on_part) const {
  const PrefixTable& table = is_normalized ? normalized_ : plain_;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t length = 0;
    std::int32_t id = -1;
    table.for_each(text.substr(at), [&](std::size_t found, std::int32_t token) {
      length = found;
      id = token;
    });
    if (id < 0) {
      ++at;
      continue;
    }
    std::size_t begin = at;
    std::size_t end = at + length;
    at = end;
    const AddedToken& token = tokens_.at(id);
    if (token.is_single_word &&
        (ends_with_word(text.substr(0, begin)) || begins_with_word(text.substr(end)))) {
      continue;
    }
    if (token.strips_left) {
      begin = std::max(without_space_behind(text.substr(0, begin)).size(), done);
    }
    if (token.strips_right) {
      end = text.size() - without_space_in_front(text.substr(end)).size();
    }
    if (done < begin) {
      on_part(done, begin, -1);
    }
    on_part(begin, end, id);
    done = end;
  }
  if (done < text.size()) {
    on_part(done, text.size(), -1);
  }
}

}  // namespace halfback
