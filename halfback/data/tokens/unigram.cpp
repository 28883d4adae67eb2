// The most likely way to split a word into pieces, each of which has a score. Source: Kudo,
// "Subword Regularization", arXiv:1804.10959.
#include "halfback/base/text.h"
#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/prefix_table.h"
#include "halfback/data/tokens/token_model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace halfback {

namespace {

constexpr double kUnknownPenalty = 10.0;

// Returns a score as the library's JSON reader does, which rounds twice: it reads the digits as a
// number, then applies the power of ten. Ties between equally likely ways depend on this.
double as_read(double score) {
  std::array<char, 32> text{};  // 1.25e-02
  char* const end =
      std::to_chars(text.begin(), text.end(), std::abs(score), std::chars_format::scientific).ptr;
  char* const mark = std::find(text.begin(), end, 'e');
  std::string digits(text.begin(), mark);
  std::erase(digits, '.');
  const std::int64_t exponent = parse_integer({mark + (mark[1] == '+' ? 2 : 1), end}).value_or(0);
  const std::int64_t power = exponent - static_cast<std::int64_t>(digits.size()) + 1;
  const double ten = parse_number(fmt::format("1e{}", std::abs(power))).value_or(1.0);
  const auto number = static_cast<double>(parse_integer(digits).value_or(0));
  return std::copysign(power < 0 ? number / ten : number * ten, score);
}

struct Scored {
  TokenIds ids;
  std::vector<double> scores;  // by id
};

Scored read_scored(Fields& fields) {
  Scored read;
  const nlohmann::json& pieces = fields.find("vocab");
  const bool is_exact = fields.get<bool>(kExactScores, false);
  if (!pieces.is_array() || pieces.empty()) {
    fields.refuse("vocab " + quote(pieces.dump()), "a list of pieces and scores");
  }
  for (const nlohmann::json& one : pieces) {
    if (!one.is_array() || one.size() != 2 || !one[0].is_string() || !one[1].is_number()) {
      fields.refuse("vocab " + quote(one.dump()), "[\"PIECE\", SCORE]");
    }
    read.ids[one[0].get<std::string>()] = static_cast<std::int32_t>(read.scores.size());
    const auto score = one[1].get<double>();
    read.scores.push_back(is_exact ? score : as_read(score));
  }
  return read;
}

class Unigram final : public TokenModel {
 public:
  Unigram(Scored scored, Fields& fields)
      : TokenModel(std::move(scored.ids)),
        scores_(std::move(scored.scores)),
        has_bytes_(fields.get<bool>("byte_fallback", false)) {
    if (!fields.find("unk_id").is_null()) {
      unknown_ = fields.get<std::int32_t>("unk_id");
      if (unknown_ >= static_cast<std::int32_t>(scores_.size())) {
        fields.refuse(fmt::format("unk_id {}", unknown_),
                      fmt::format("one of {} pieces", scores_.size()));
      }
    }
    unknown_score_ = *std::min_element(scores_.begin(), scores_.end()) - kUnknownPenalty;
    pieces_ = PrefixTable({ids().begin(), ids().end()});
  }

  void encode(std::string_view word, std::vector<std::int32_t>& tokens) const override {
    const std::vector<Node> best = best_ends(word);
    std::vector<std::pair<std::string_view, bool>> parts;  // last first; whether unknown
    for (std::size_t end = word.size(); end > 0; end = best[end].begin) {
      const Node& node = best[end];
      const bool is_unknown = node.id == unknown_;
      if (is_unknown && !parts.empty() && parts.back().second) {
        parts.back().first = word.substr(node.begin, end - node.begin + parts.back().first.size());
      } else {
        parts.emplace_back(word.substr(node.begin, end - node.begin), is_unknown);
      }
    }
    std::for_each(parts.rbegin(), parts.rend(),
                  [&](const auto& part) { append_part(part.first, tokens); });
  }

 private:
  struct Node {  // the best way that ends at a byte
    std::size_t begin = std::string_view::npos;
    double score = 0.0;
    std::int32_t id = -1;
    void offer(std::size_t from, double new_score, std::int32_t new_id) {
      if (begin == std::string_view::npos || new_score > score) {
        *this = {from, new_score, new_id};
      }
    }
  };

  std::vector<Node> best_ends(std::string_view word) const {
    std::vector<Node> best(word.size() + 1);
    for (std::size_t at = 0; at < word.size();) {
      const std::string_view rest = word.substr(at);
      const std::size_t character = front_length(rest);
      const double before = best[at].score;
      bool has_single = false;
      pieces_.for_each(rest, [&](std::size_t length, std::int32_t id) {
        best[at + length].offer(at, scores_[static_cast<std::size_t>(id)] + before, id);
        has_single = has_single || length == character;
      });
      if (!has_single) {
        if (unknown_ < 0) {
          refuse(rest.substr(0, character));
        }
        best[at + character].offer(at, unknown_score_ + before, unknown_);
      }
      at += character;
    }
    return best;
  }

  void append_part(std::string_view part, std::vector<std::int32_t>& tokens) const {
    if (const std::int32_t id = id_of(part); id >= 0) {
      tokens.push_back(id);
    } else if (!has_bytes_ || !detail::append_bytes(part, ids(), tokens)) {
      tokens.push_back(unknown_);
    }
  }

  [[noreturn]] static void refuse(std::string_view one) {
    throw FileError(fmt::format(
        "tokenizer: {} is not a token, and the model has no unknown one; use a model with another "
        "tokenizer",
        quote(one)));
  }

  std::vector<double> scores_;
  bool has_bytes_;
  std::int32_t unknown_ = -1;
  double unknown_score_ = 0.0;
  PrefixTable pieces_;
};

}  // namespace

TokenModelPointer make_unigram(Fields& fields) {
  return std::make_shared<Unigram>(read_scored(fields), fields);
}

}  // namespace halfback
