#include "halfback/data/tokens/token_decoder.h"

#include "halfback/base/text.h"
#include "halfback/data/tokens/byte_characters.h"
#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/pattern.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <utility>

namespace halfback {

namespace {

// Passes on the result of a function of each token and whether it is the first.
class Mapped final : public DecoderStep {
 public:
  using Map = std::function<std::string(const std::string&, bool)>;
  explicit Mapped(Map map) : map_(std::move(map)) {}
  void add(std::string token, const OnToken& on_token) override {
    on_token(map_(token, std::exchange(is_first_, false)));
  }

 private:
  Map map_;
  bool is_first_ = true;
};

using Steps = std::vector<MakeDecoderStep>;

Steps mapped(const Mapped::Map& map) {
  return {[map] { return std::make_unique<Mapped>(map); }};
}

// Bytes that form one text: what cannot become UTF-8 is replaced once that is certain.
class ByteLevel final : public DecoderStep {
 public:
  void add(std::string token, const OnToken& on_token) override {
    bytes_ += from_byte_characters(token).value_or(token);
    const std::size_t end = length_without_broken_end(bytes_);
    on_token(to_valid_utf8(bytes_.substr(0, end)));
    bytes_.erase(0, end);
  }
  void finish(const OnToken& on_token) override { on_token(to_valid_utf8(bytes_)); }

 private:
  std::string bytes_;
};

// A run of tokens "<0x41>" and so on is one text; if it is not UTF-8, each is an unknown character.
class ByteFallback final : public DecoderStep {
 public:
  void add(std::string token, const OnToken& on_token) override {
    if (const std::optional<char> byte = byte_of(token)) {
      bytes_ += *byte;
      return;
    }
    finish(on_token);
    on_token(std::move(token));
  }
  void finish(const OnToken& on_token) override {
    if (bytes_.empty()) {
      return;
    }
    if (to_valid_utf8(bytes_) == bytes_) {
      on_token(std::move(bytes_));
    } else {
      for (std::size_t i = 0; i < bytes_.size(); ++i) {
        on_token("\uFFFD");
      }
    }
    bytes_.clear();
  }

 private:
  std::string bytes_;
};

// Removes a limited number of a character from both ends of each token, or of the whole text.
class Strip final : public DecoderStep {
 public:
  struct Options {
    std::string content;
    std::int64_t left;
    std::int64_t right;
    bool is_fused;
  };
  explicit Strip(Options options) : options_(std::move(options)), left_(options_.left) {}

  void add(std::string token, const OnToken& on_token) override {
    held_ += token;
    while (left_ > 0 && held_.starts_with(options_.content)) {
      held_.erase(0, options_.content.size());
      --left_;
    }
    if (!held_.empty()) {
      left_ = 0;
    }
    if (!options_.is_fused) {
      finish(on_token);
      return;
    }
    const std::size_t end = held_.size() - trailing() * options_.content.size();
    on_token(held_.substr(0, end));
    held_.erase(0, end);
  }
  void finish(const OnToken& on_token) override {
    held_.resize(held_.size() - trailing() * options_.content.size());
    on_token(std::exchange(held_, {}));
    left_ = options_.left;
  }

 private:
  // Returns how many of the character are at the end and may have to be removed.
  std::size_t trailing() const {
    std::size_t count = 0;
    for (std::string_view rest = held_;
         static_cast<std::int64_t>(count) < options_.right && rest.ends_with(options_.content);
         ++count) {
      rest.remove_suffix(options_.content.size());
    }
    return count;
  }

  Options options_;
  std::int64_t left_;
  std::string held_;
};

// Reads one kind of decoder; `is_fused` is whether all tokens have become one by now.
Steps word_piece(Fields& fields, bool& /*is_fused*/) {
  return mapped(
      [prefix = fields.get<std::string>("prefix", "##"),
       cleans = fields.get<bool>("cleanup", true)](const std::string& token, bool is_first) {
        std::string text = is_first                    ? token
                           : token.starts_with(prefix) ? token.substr(prefix.size())
                                                       : " " + token;
        return cleans ? clean_up(replaced(std::move(text), " do not", " don't")) : text;
      });
}

Steps metaspace(Fields& fields, bool& /*is_fused*/) {
  const bool adds = fields.get<bool>("add_prefix_space", true) &&
                    fields.get<std::string>("prepend_scheme", "always") != "never";
  fields.ignore({"split", "str_rep"});
  return mapped([sign = fields.get<std::string>("replacement", "\u2581"), adds](
                    const std::string& token, bool is_first) {
    return replaced(token, sign, is_first && adds ? "" : " ");
  });
}

Steps replace(Fields& fields, bool& /*is_fused*/) {
  const Pattern pattern(fields.find("pattern"), fields.part());
  return mapped(
      [pattern, content = fields.get<std::string>("content")](
          const std::string& token, bool /*is_first*/) { return pattern.replace(token, content); });
}

Steps fuse(Fields& /*fields*/, bool& is_fused) {
  is_fused = true;
  return mapped([](const std::string& token, bool /*is_first*/) { return token; });
}

Steps byte_level(Fields& fields, bool& is_fused) {
  is_fused = true;
  fields.ignore({"add_prefix_space", "trim_offsets", "use_regex"});
  return {[] { return std::make_unique<ByteLevel>(); }};
}

Steps byte_fallback(Fields& /*fields*/, bool& /*is_fused*/) {
  return {[] { return std::make_unique<ByteFallback>(); }};
}

Steps strip(Fields& fields, bool& is_fused) {
  const Strip::Options options{.content = fields.get<std::string>("content"),
                               .left = fields.get<std::int64_t>("start"),
                               .right = fields.get<std::int64_t>("stop"),
                               .is_fused = is_fused};
  return {[options] { return std::make_unique<Strip>(options); }};
}

Steps read_steps(const nlohmann::json& json, const std::string& part, bool& is_fused);

Steps sequence(Fields& fields, bool& is_fused) {
  Steps all;
  for (const nlohmann::json& one : fields.find("decoders")) {
    std::ranges::move(read_steps(one, fields.part(), is_fused), std::back_inserter(all));
  }
  return all;
}

constexpr auto kKinds = std::to_array<Kind<Steps, bool&>>({{"ByteFallback", byte_fallback},
                                                           {"ByteLevel", byte_level},
                                                           {"Fuse", fuse},
                                                           {"Metaspace", metaspace},
                                                           {"Replace", replace},
                                                           {"Sequence", sequence},
                                                           {"Strip", strip},
                                                           {"WordPiece", word_piece}});

Steps read_steps(const nlohmann::json& json, const std::string& part, bool& is_fused) {
  Fields fields(json, part);
  if (is_fused && fields.type() != "Strip") {
    fields.refuse("type " + quote(fields.type()) + " behind Fuse or ByteLevel", "Strip");
  }
  Steps steps = fields.choose("type", fields.type(), kKinds)(fields, is_fused);
  fields.finish();
  return steps;
}

}  // namespace

std::optional<char> byte_of(const std::string& token) {
  constexpr std::string_view kDigits = "0123456789abcdef0123456789ABCDEF";
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') {
    return std::nullopt;
  }
  const std::size_t high = kDigits.find(token[3]);
  const std::size_t low = kDigits.find(token[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) {
    return std::nullopt;
  }
  return static_cast<char>(high % 16 * 16 + low % 16);
}

std::string clean_up(std::string text) {
  constexpr auto kChanges =
      std::to_array<std::pair<std::string_view, std::string_view>>({{" .", "."},
                                                                    {" ?", "?"},
                                                                    {" !", "!"},
                                                                    {" ,", ","},
                                                                    {" ' ", "'"},
                                                                    {" n't", "n't"},
                                                                    {" 'm", "'m"},
                                                                    {" 's", "'s"},
                                                                    {" 've", "'ve"},
                                                                    {" 're", "'re"}});
  for (const auto& [from, to] : kChanges) {
    text = replaced(std::move(text), from, to);
  }
  return text;
}

std::vector<MakeDecoderStep> make_token_decoder(const nlohmann::json& json,
                                                const std::string& part) {
  if (json.is_null()) {
    return mapped(
        [](const std::string& token, bool is_first) { return is_first ? token : " " + token; });
  }
  bool is_fused = false;
  return read_steps(json, part, is_fused);
}

DecoderChain::DecoderChain(const std::vector<MakeDecoderStep>& makers) {
  for (const MakeDecoderStep& make : makers) {
    steps_.push_back(make());
  }
}

std::string DecoderChain::add(std::string token) {
  std::string text;
  add_from(0, std::move(token), text);
  return text;
}

std::string DecoderChain::finish() {
  std::string text;
  for (std::size_t i = 0; i < steps_.size(); ++i) {
    steps_[i]->finish([&](std::string token) { add_from(i + 1, std::move(token), text); });
  }
  return text;
}

void DecoderChain::add_from(std::size_t step, std::string token, std::string& text) {
  if (step == steps_.size()) {
    text += token;
  } else {
    steps_[step]->add(std::move(token),
                      [&](std::string next) { add_from(step + 1, std::move(next), text); });
  }
}

}  // namespace halfback
