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

// Joins the parts of a text, which come one after the other, as a behavior asks, and hands them on.
class Cutter {
 public:
  Cutter(const Piece& piece, Behavior behavior, const OnPiece& on_piece)
      : piece_(piece), behavior_(behavior), on_piece_(on_piece) {}

  // A part that reaches to `end`.
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

// Cuts at the characters for which a function says so.
PreTokenizer at_characters(bool (*is_match)(char32_t), Behavior behavior) {
  return [is_match, behavior](const Piece& piece, const OnPiece& on_piece) {
    Cutter cutter(piece, behavior, on_piece);
    std::size_t at = 0;
    std::optional<std::size_t> other;  // where a part without such characters ends
    while (at < piece.text.size()) {
      const std::string_view rest = piece.text.substr(at);
      at += front_length(rest);
      if (!is_match(front(rest))) {
        other = at;
        continue;
      }
      if (other) {
        cutter.add(*std::exchange(other, std::nullopt), false);
      }
      cutter.add(at, true);
    }
    if (other) {
      cutter.add(*other, false);
    }
    cutter.finish();
  };
}

PreTokenizer at_matches(const Pattern& pattern, Behavior behavior, bool is_inverted) {
  return [pattern, behavior, is_inverted](const Piece& piece, const OnPiece& on_piece) {
    Cutter cutter(piece, behavior, on_piece);
    std::size_t done = 0;
    pattern.for_each_match(piece.text, [&](std::size_t begin, std::size_t end) {
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

PreTokenizer in_sequence(PreTokenizer first, PreTokenizer second) {
  return [first = std::move(first), second = std::move(second)](const Piece& piece,
                                                                const OnPiece& on_piece) {
    first(piece, [&](const Piece& part) { second(part, on_piece); });
  };
}

void keep(const Piece& piece, const OnPiece& on_piece) { on_piece(piece); }

Behavior behavior_of(Fields& fields, const std::optional<std::string>& otherwise = {}) {
  const auto name = fields.get<std::string>("behavior", otherwise);
  constexpr auto kNames = std::to_array<std::pair<std::string_view, Behavior>>(
      {{"Removed", Behavior::Removed},
       {"Isolated", Behavior::Isolated},
       {"MergedWithPrevious", Behavior::MergedWithPrevious},
       {"MergedWithNext", Behavior::MergedWithNext},
       {"Contiguous", Behavior::Contiguous}});
  for (const auto& [known, behavior] : kNames) {
    if (known == name) {
      return behavior;
    }
  }
  fields.refuse("behavior " + quote(name),
                "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

PreTokenizer byte_level(Fields& fields) {
  constexpr const char* kWords =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  fields.ignore({"trim_offsets"});
  const PreTokenizer words = fields.get<bool>("use_regex", true)
                                 ? at_matches(Pattern::of_regex(kWords), Behavior::Isolated, false)
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
  const PreTokenizer words = fields.get<bool>("split", true)
                                 ? at_matches({nlohmann::json{{"String", sign}}, fields.part()},
                                              Behavior::MergedWithNext, false)
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

PreTokenizer by_type(Fields& fields) {
  const std::string type = fields.type();
  if (type == "Sequence") {
    PreTokenizer all = keep;
    for (const nlohmann::json& one : fields.find("pretokenizers")) {
      all = in_sequence(std::move(all), make_pre_tokenizer(one, fields.part()));
    }
    return all;
  }
  if (type == "ByteLevel") {
    return byte_level(fields);
  }
  if (type == "Metaspace") {
    return metaspace(fields);
  }
  if (type == "Split") {
    const Pattern pattern(fields.find("pattern"), fields.part());
    const Behavior behavior = behavior_of(fields);
    return at_matches(pattern, behavior, fields.get<bool>("invert"));
  }
  if (type == "BertPreTokenizer") {
    return in_sequence(at_characters(is_white_space, Behavior::Removed),
                       at_characters(is_punctuation, Behavior::Isolated));
  }
  if (type == "Whitespace") {
    return in_sequence(at_characters(is_white_space, Behavior::Removed),
                       at_characters(is_word, Behavior::Contiguous));
  }
  if (type == "WhitespaceSplit") {
    return at_characters(is_white_space, Behavior::Removed);
  }
  if (type == "Digits") {
    return at_characters(is_numeric, fields.get<bool>("individual_digits") ? Behavior::Isolated
                                                                           : Behavior::Contiguous);
  }
  if (type == "Punctuation") {
    return at_characters(is_punctuation, behavior_of(fields, "Isolated"));
  }
  fields.refuse_type(
      "BertPreTokenizer, ByteLevel, Digits, Metaspace, Punctuation, Sequence, Split, Whitespace or "
      "WhitespaceSplit");
}

}  // namespace

PreTokenizer make_pre_tokenizer(const nlohmann::json& json, const std::string& part) {
  return read_part<PreTokenizer>(json, part, keep, by_type);
}

}  // namespace halfback
