#include "halfback/data/tokens/pre_tokenizer.h"

#include "halfback/data/tokens/byte_characters.h"
#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/pattern.h"

#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace halfback {

namespace {

enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };

// Joins consecutive parts of a text according to a behavior, and passes them on.
class Cutter {
 public:
  Cutter(const Piece& piece, Behavior behavior, const OnPiece& on_piece)
      : piece_(piece), behavior_(behavior), on_piece_(on_piece) {}

  // Adds a part that reaches to `end`.
  void add(std::size_t end, bool is_match) {
    if (!joins(is_match)) {
      hand_on();
    }
    was_match_ = is_match;
    end_ = end;
  }
  void finish() { hand_on(); }

 private:
  bool joins(bool is_match) const {
    switch (behavior_) {
      case Behavior::MergedWithPrevious:
        return is_match && !was_match_;
      case Behavior::MergedWithNext:
        return was_match_ && !is_match;
      case Behavior::Contiguous:
        return is_match == was_match_;
      default:
        return false;
    }
  }

  void hand_on() {
    const bool is_removed = was_match_ && behavior_ == Behavior::Removed;
    if (end_ > begin_ && !is_removed) {
      on_piece_({piece_.text.substr(begin_, end_ - begin_), piece_.is_start && begin_ == 0});
    }
    begin_ = end_;
  }

  const Piece& piece_;
  Behavior behavior_;
  const OnPiece& on_piece_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool was_match_ = false;
};

using OnMatch = std::function<void(std::size_t, std::size_t)>;
using ForEachMatch = std::function<void(std::string_view, const OnMatch&)>;

PreTokenizer at_matches(ForEachMatch for_each_match, Behavior behavior, bool is_inverted = false) {
  return [for_each_match = std::move(for_each_match), behavior, is_inverted](
             const Piece& piece, const OnPiece& on_piece) {
    Cutter cutter(piece, behavior, on_piece);
    std::size_t done = 0;
    for_each_match(piece.text, [&](std::size_t begin, std::size_t end) {
      if (begin > done) {
        cutter.add(begin, is_inverted);
      }
      if (end > begin) {
        cutter.add(end, !is_inverted);
      }
      done = end;
    });
    if (done < piece.text.size()) {
      cutter.add(piece.text.size(), is_inverted);
    }
    cutter.finish();
  };
}

PreTokenizer at_pattern(Pattern pattern, Behavior behavior, bool is_inverted = false) {
  return at_matches(std::bind_front(&Pattern::for_each_match, std::move(pattern)), behavior,
                    is_inverted);
}

// Cuts at the characters that a function matches.
PreTokenizer at_characters(bool (*is_match)(char32_t), Behavior behavior) {
  const auto for_each_match = [is_match](std::string_view text, const OnMatch& on_match) {
    for (std::size_t at = 0; at < text.size();) {
      const std::string_view rest = text.substr(at);
      const std::size_t begin = std::exchange(at, at + front_length(rest));
      if (is_match(front(rest))) {
        on_match(begin, at);
      }
    }
  };
  return at_matches(for_each_match, behavior);
}

PreTokenizer in_sequence(PreTokenizer first, PreTokenizer second) {
  return [first = std::move(first), second = std::move(second)](const Piece& piece,
                                                                const OnPiece& on_piece) {
    first(piece, [&](const Piece& part) { second(part, on_piece); });
  };
}

void keep(const Piece& piece, const OnPiece& on_piece) { on_piece(piece); }

Behavior behavior_of(Fields& fields, const std::optional<std::string>& otherwise = {}) {
  const auto name = fields.get<std::string>("behavior", otherwise);
  constexpr auto kBehaviors =
      std::to_array<Named<Behavior>>({{"Removed", Behavior::Removed},
                                      {"Isolated", Behavior::Isolated},
                                      {"MergedWithPrevious", Behavior::MergedWithPrevious},
                                      {"MergedWithNext", Behavior::MergedWithNext},
                                      {"Contiguous", Behavior::Contiguous}});
  return fields.choose("behavior", name, kBehaviors);
}

PreTokenizer byte_level(Fields& fields) {
  constexpr const char* kWords =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  fields.ignore({"trim_offsets"});
  const PreTokenizer words =
      fields.get<bool>("use_regex", true)
          ? at_pattern({nlohmann::json{{"Regex", kWords}}, fields.part()}, Behavior::Isolated)
          : keep;
  return [words, adds_space = fields.get<bool>("add_prefix_space")](const Piece& piece,
                                                                    const OnPiece& on_piece) {
    std::string spaced;
    Piece whole = piece;
    if (adds_space && !piece.text.starts_with(' ')) {
      whole.text = spaced = std::string(" ").append(piece.text);
    }
    words(whole, [&](const Piece& word) {
      on_piece({to_byte_characters(word.text), word.is_start});
    });
  };
}

PreTokenizer metaspace(Fields& fields) {
  const auto sign = fields.get<std::string>("replacement", "\u2581");
  const bool adds = fields.get<bool>("add_prefix_space", true);
  const auto scheme = fields.get<std::string>("prepend_scheme", "always");
  fields.ignore({"str_rep"});
  if ((scheme != "always" && scheme != "first" && scheme != "never") ||
      (!adds && scheme != "never" && !fields.find("prepend_scheme").is_null())) {
    fields.refuse(
        fmt::format("prepend_scheme {}{}", quote(scheme), adds ? "" : " without add_prefix_space"),
        "always, first or never");
  }
  if (sign.empty() || front_length(sign) != sign.size()) {
    fields.refuse("replacement " + quote(sign), "one character");
  }
  const PreTokenizer words =
      fields.get<bool>("split", true)
          ? at_pattern({nlohmann::json{{"String", sign}}, fields.part()}, Behavior::MergedWithNext)
          : keep;
  const bool never = !adds || scheme == "never";
  return
      [words, sign, never, first = scheme == "first"](const Piece& piece, const OnPiece& on_piece) {
        std::string made;
        for (const char one : piece.text) {
          one == ' ' ? made += sign : made += one;
        }
        if (!never && !made.starts_with(sign) && (!first || piece.is_start)) {
          made.insert(0, sign);
        }
        words({made, piece.is_start}, on_piece);
      };
}

PreTokenizer sequence(Fields& fields) {
  PreTokenizer all = keep;
  for (const nlohmann::json& one : fields.find("pretokenizers")) {
    all = in_sequence(std::move(all), make_pre_tokenizer(one, fields.part()));
  }
  return all;
}

PreTokenizer split(Fields& fields) {
  return at_pattern({fields.find("pattern"), fields.part()}, behavior_of(fields),
                    fields.get<bool>("invert"));
}

PreTokenizer digits(Fields& fields) {
  return at_characters(is_numeric, fields.get<bool>("individual_digits") ? Behavior::Isolated
                                                                         : Behavior::Contiguous);
}

PreTokenizer punctuation(Fields& fields) {
  return at_characters(is_punctuation, behavior_of(fields, "Isolated"));
}

PreTokenizer at_white_space(Fields& /*fields*/) {
  return at_characters(is_white_space, Behavior::Removed);
}

PreTokenizer bert(Fields& fields) {
  return in_sequence(at_white_space(fields), at_characters(is_punctuation, Behavior::Isolated));
}

PreTokenizer words(Fields& fields) {
  return in_sequence(at_white_space(fields), at_characters(is_word, Behavior::Contiguous));
}

constexpr auto kKinds = std::to_array<Kind<PreTokenizer>>({{"BertPreTokenizer", bert},
                                                           {"ByteLevel", byte_level},
                                                           {"Digits", digits},
                                                           {"Metaspace", metaspace},
                                                           {"Punctuation", punctuation},
                                                           {"Sequence", sequence},
                                                           {"Split", split},
                                                           {"Whitespace", words},
                                                           {"WhitespaceSplit", at_white_space}});

}  // namespace

PreTokenizer make_pre_tokenizer(const nlohmann::json& json, const std::string& part) {
  return read_part<PreTokenizer>(json, part, keep, kKinds);
}

}  // namespace halfback
