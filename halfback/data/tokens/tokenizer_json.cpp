#include "halfback/data/tokens/tokenizer_json.h"

#include "halfback/base/text.h"
#include "halfback/data/tokens/added_tokens.h"
#include "halfback/data/tokens/around_text.h"
#include "halfback/data/tokens/byte_characters.h"
#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/normalizer.h"
#include "halfback/data/tokens/pre_tokenizer.h"
#include "halfback/data/tokens/token_decoder.h"
#include "halfback/data/tokens/token_model.h"
#include "halfback/data/tokens/tokenizer_class.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace halfback {

namespace {

constexpr std::size_t kMaxCachedWords = std::size_t{1} << 18;
constexpr std::size_t kReportedBytes = std::size_t{1} << 16;
constexpr auto kNamedTokens = std::to_array<const char*>(
    {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"});

// Reads {"7": {"content": ...}, ...}, ordered by number.
std::vector<AddedToken> configured_tokens(const nlohmann::json& json, const std::string& part) {
  std::map<std::int64_t, AddedToken> by_id;
  for (const auto& [id, token] : json.items()) {
    by_id[parse_integer(id).value_or(0)] = parse_added_token(token, part);
  }
  std::vector<AddedToken> tokens;
  for (auto& [id, token] : by_id) {
    tokens.push_back(std::move(token));
  }
  return tokens;
}

// Collects the tokens of one text.
class Encoding {
 public:
  Encoding(const TokenModel& model, const Tokenizer::OnEncoded& on_encoded)
      : model_(model), on_encoded_(on_encoded) {}

  void add(std::int32_t token) { tokens_.push_back(token); }

  void add_word(std::string_view word) {
    report(word.size());
    while (!word.empty()) {
      const std::string_view part = word.substr(0, model_.independent_length(word));
      word.remove_prefix(part.size());
      auto found = words_.find(part);
      if (found == words_.end()) {
        std::vector<std::int32_t> made;
        model_.encode(part, made);
        if (words_.size() == kMaxCachedWords) {
          words_.clear();
        }
        found = words_.emplace(part, std::move(made)).first;
      }
      tokens_.insert(tokens_.end(), found->second.begin(), found->second.end());
    }
  }

  // The next words end at byte `end` of the text; how many of its bytes a word covers is only
  // estimated.
  void begin_part(std::size_t begin, std::size_t end) {
    done_ = std::max(done_, begin);
    end_ = end;
  }

  std::vector<std::int32_t> finish(std::size_t size) {
    if (on_encoded_ && reported_ < size) {
      on_encoded_(static_cast<std::int64_t>(size));
    }
    return std::move(tokens_);
  }

 private:
  void report(std::size_t bytes) {
    done_ = std::min(done_ + bytes, end_);
    if (on_encoded_ && done_ >= reported_ + kReportedBytes) {
      reported_ = done_;
      on_encoded_(static_cast<std::int64_t>(done_));
    }
  }

  const TokenModel& model_;
  const Tokenizer::OnEncoded& on_encoded_;
  std::vector<std::int32_t> tokens_;
  std::unordered_map<std::string, std::vector<std::int32_t>, HashOfText, std::equal_to<>> words_;
  std::size_t done_ = 0;
  std::size_t end_ = 0;
  std::size_t reported_ = 0;
};

class JsonTokenizer final : public Tokenizer {
 public:
  explicit JsonTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
    Fields root(parts_.tokenizer, parts_.source);
    const auto part = [&](const char* key) { return fmt::format("{}: {}", parts_.source, key); };
    root.ignore({"version", "truncation", "padding"});  // a text is encoded whole
    model_ = make_token_model(root.find("model"), part("model"));
    normalizer_ = make_normalizer(root.find("normalizer"), part("normalizer"));
    pre_tokenizer_ = make_pre_tokenizer(root.find("pre_tokenizer"), part("pre_tokenizer"));
    decoder_ = make_token_decoder(root.find("decoder"), part("decoder"));
    for (const auto& [word, id] : model_->ids()) {
      set_word(id, word);
    }
    add_tokens(root.find("added_tokens"), part("added_tokens"));
    const AroundText own = read_post_processor(root.find("post_processor"), part("post_processor"));
    root.finish();
    take_config(own);
    added_.finish(normalizer_);
    for (const auto& [id, token] : added_.tokens()) {
      set_word(id, token.is_normalized ? normalizer_(token.content) : token.content);
    }
    mask_ = find_mask();
    has_byte_level_ = uses(parts_.tokenizer, "decoder", "ByteLevel");
    has_byte_fallback_ = uses(parts_.tokenizer, "decoder", "ByteFallback");
    identity_ = identity_of_parts();
    parts_.tokenizer = nullptr;
  }

  std::int64_t vocabulary() const override { return static_cast<std::int64_t>(words_.size()); }
  std::int64_t mask_token() const override { return mask_; }
  std::vector<std::int32_t> prefix() const override { return around_.prefix; }
  std::vector<std::int32_t> suffix() const override { return around_.suffix; }
  bool is_special(std::int64_t token) const override {
    const auto found = added_.tokens().find(static_cast<std::int32_t>(token));
    // transformers does not recognize a special token whose text its normalizer changes.
    return found != added_.tokens().end() && found->second.is_special &&
           words_[static_cast<std::size_t>(token)] == found->second.content;
  }
  const TokenizerFiles& files() const override { return parts_.files; }
  std::string identity() const override { return identity_; }
  std::string name() const override { return parts_.name; }

  std::vector<std::int32_t> encode(std::string_view text,
                                   const OnEncoded& on_encoded) const override {
    Encoding encoding(*model_, on_encoded);
    const std::string valid = to_valid_utf8(text);
    added_.find(valid, false, [&](std::size_t begin, std::size_t end, std::int32_t token) {
      if (token >= 0) {
        encoding.add(token);
        return;
      }
      encoding.begin_part(begin, std::min(end, text.size()));
      encode_plain(valid.substr(begin, end - begin), begin == 0, encoding);
    });
    return encoding.finish(text.size());
  }

  std::string_view text_of(std::int64_t token) const override {
    std::call_once(has_texts_, [&] { find_texts(); });
    return texts_.at(static_cast<std::size_t>(token));
  }

  std::unique_ptr<TextDecoder> decoder() const override { return std::make_unique<Decoder>(*this); }

 private:
  class Decoder final : public TextDecoder {
   public:
    explicit Decoder(const JsonTokenizer& tokenizer)
        : tokenizer_(tokenizer), chain_(tokenizer.decoder_) {}
    std::string add(std::int64_t token) override {
      const auto place = static_cast<std::size_t>(token);
      if (tokenizer_.is_special(token) || place >= tokenizer_.words_.size()) {
        return {};
      }
      return hold(chain_.add(tokenizer_.words_[place]));
    }
    std::string finish() override {
      std::string rest = hold(chain_.finish());
      return tokenizer_.cleans_up_ ? clean_up(std::move(held_)) : rest;
    }

   private:
    // Holds everything back if clean-up may still change it.
    std::string hold(std::string text) {
      if (!tokenizer_.cleans_up_) {
        return text;
      }
      held_ += text;
      return {};
    }

    const JsonTokenizer& tokenizer_;
    DecoderChain chain_;
    std::string held_;
  };

  void set_word(std::int32_t id, const std::string& word) {
    const auto place = static_cast<std::size_t>(id);
    words_.resize(std::max(words_.size(), place + 1));
    words_[place] = word;
  }

  std::int32_t id_of(std::string_view word) const {
    const std::int32_t added = added_.id_of(word);
    return added >= 0 ? added : model_->id_of(word);
  }

  void add_tokens(const nlohmann::json& tokens, const std::string& part) {
    for (const nlohmann::json& one : tokens) {
      const AddedToken token = parse_added_token(one, part);
      const std::int32_t id = added_.add(token, *model_);
      if (one.is_object() && one.contains("id") && one["id"] != id) {
        throw FileError(fmt::format(
            "{}: {} has the id {}; expected {}, where the vocab has it or ends; use a model with "
            "another tokenizer",
            part, quote(token.content), quote(one["id"].dump()), id));
      }
    }
  }

  // Takes the tokens that transformers adds, the tokens around a text, and the clean-up of decoded
  // text.
  void take_config(const AroundText& own) {
    const nlohmann::json& config = parts_.config;
    const std::string part = parts_.source + ": tokenizer_config.json";
    Fields fields(config, part);
    fields.require("split_special_tokens", false);
    for (AddedToken& token : configured_tokens(fields.find("added_tokens_decoder"), part)) {
      const std::int32_t known = added_.id_of(token.content);
      token.is_special = token.is_special || (known >= 0 && added_.tokens().at(known).is_special);
      added_.add(std::move(token), *model_);
    }
    const auto add_special = [&](const nlohmann::json& json) {
      AddedToken token = parse_added_token(json, part);
      if (const std::int32_t known = added_.id_of(token.content); known >= 0) {
        token = added_.tokens().at(known);
      }
      token.is_special = true;
      added_.add(std::move(token), *model_);
    };
    for (const char* const name : kNamedTokens) {
      if (!named_token(config, name).empty()) {
        add_special(config[name]);
      }
    }
    for (const char* const name : {"additional_special_tokens", "extra_special_tokens"}) {
      std::ranges::for_each(fields.find(name), add_special);
    }
    // If a JSON or BERT's vocabulary defines the tokens around a text, the config's keys are
    // ignored.
    around_ = parts_.name == "vocab.json"
                  ? read_around_text(
                        config, [&](std::string_view word) { return id_of(word); }, part)
                  : own;
    cleans_up_ = fields.get<bool>("clean_up_tokenization_spaces", false) &&
                 parts_.tokenizer["model"].value("type", "") != "BPE";
  }

  // Everything that turns text into tokens, including the config's tokens. Checkpoints contain its
  // checksum, so after a change here older ones cannot be resumed.
  std::string identity_of_parts() const {
    using nlohmann::json;
    json all = json::array({parts_.tokenizer["model"], parts_.tokenizer.value("normalizer", json()),
                            parts_.tokenizer.value("pre_tokenizer", json())});
    for (const auto& [id, token] : added_.tokens()) {
      all.push_back(json::array({id, token.content, token.is_single_word, token.strips_left,
                                 token.strips_right, token.is_normalized}));
    }
    return all.dump();
  }

  std::int64_t find_mask() const {
    for (const std::string& name :
         {named_token(parts_.config, "mask_token"), std::string("[MASK]"), std::string("<mask>")}) {
      if (const std::int32_t id = added_.id_of(name); id >= 0) {
        return id;
      }
    }
    return vocabulary();
  }

  void encode_plain(const std::string& text, bool is_start, Encoding& encoding) const {
    const std::string normalized = normalizer_(text);
    added_.find(normalized, true, [&](std::size_t begin, std::size_t end, std::int32_t token) {
      if (token >= 0) {
        encoding.add(token);
        return;
      }
      pre_tokenizer_(
          {std::string_view(normalized).substr(begin, end - begin), is_start && begin == 0},
          [&](const Piece& word) { encoding.add_word(word.text); });
    });
  }

  void find_texts() const {
    const std::size_t before = decoded("a", nullptr).size();
    for (std::size_t id = 0; id < words_.size(); ++id) {
      const std::string& word = words_[id];
      const std::optional<char> byte = has_byte_fallback_ ? byte_of(word) : std::nullopt;
      std::string text;
      if (is_special(static_cast<std::int64_t>(id))) {
        text = "";
      } else if (has_byte_level_) {
        text = from_byte_characters(word).value_or(word);
      } else if (byte) {
        text = *byte;
      } else {
        text = decoded("a", &word);
        text.erase(0, before);
      }
      texts_.push_back(std::move(text));
    }
  }

  std::string decoded(const std::string& first, const std::string* second) const {
    DecoderChain chain(decoder_);
    std::string text = chain.add(first);
    if (second != nullptr) {
      text += chain.add(*second);
    }
    return text + chain.finish();
  }

  TokenizerParts parts_;
  TokenModelPointer model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::vector<MakeDecoderStep> decoder_;
  AddedTokens added_;
  AroundText around_;
  std::vector<std::string> words_;  // by id
  std::string identity_;
  std::int64_t mask_ = 0;
  bool cleans_up_ = false;
  bool has_byte_level_ = false;  // the decoder
  bool has_byte_fallback_ = false;
  mutable std::once_flag has_texts_;
  mutable std::vector<std::string> texts_;  // by id
};

}  // namespace

TokenizerPointer make_json_tokenizer(TokenizerParts parts) {
  return std::make_shared<const JsonTokenizer>(std::move(parts));
}

}  // namespace halfback
