// Byte-pair encoding: of all adjacent symbols, the pair whose merge was learned first is merged,
// repeatedly. Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword
// Units", arXiv:1508.07909.
#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/token_model.h"

#include <algorithm>
#include <queue>
#include <tuple>
#include <unordered_set>
#include <utility>

namespace halfback {

namespace {

// Shorter words are encoded whole.
constexpr std::size_t kCutFrom = 32;

template <typename Number>
std::uint64_t pair_of(Number left, Number right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32U | static_cast<std::uint32_t>(right);
}

class Bpe final : public TokenModel {
 public:
  explicit Bpe(Fields& fields)
      : TokenModel(detail::read_ids(fields)),
        prefix_(fields.get<std::string>("continuing_subword_prefix", "")),
        suffix_(fields.get<std::string>("end_of_word_suffix", "")),
        fuses_unknown_(fields.get<bool>("fuse_unk", false)),
        has_bytes_(fields.get<bool>("byte_fallback", false)),
        ignores_merges_(fields.get<bool>("ignore_merges", false)) {
    if (const nlohmann::json& dropout = fields.find("dropout"); dropout != 0.0) {
      fields.require("dropout", nullptr);
    }
    if (!fields.find("unk_token").is_null()) {
      unknown_text_ = fields.get<std::string>("unk_token");
      unknown_ = id_of(unknown_text_);
    }
    read_merges(fields);
  }

  void encode(std::string_view word, std::vector<std::int32_t>& tokens) const override {
    if (const std::int32_t whole = ignores_merges_ ? id_of(word) : -1; whole >= 0) {
      tokens.push_back(whole);
      return;
    }
    std::vector<std::int32_t> symbols;
    symbols.reserve(word.size());
    add_symbols(word, symbols);
    merge(std::move(symbols), tokens);
  }

  // Cuts where no merge can join: between two characters that are not adjacent in any learned pair.
  std::size_t independent_length(std::string_view word) const override {
    if (word.size() < kCutFrom || !can_cut_ || (ignores_merges_ && id_of(word) >= 0)) {
      return word.size();
    }
    std::size_t at = front_length(word);
    char32_t last = front(word);
    bool knows_last = id_of(word.substr(0, at)) >= 0;
    while (at < word.size()) {
      const std::string_view rest = word.substr(at);
      const std::size_t length = front_length(rest);
      const char32_t next = front(rest);
      const bool knows_next = id_of(rest.substr(0, length)) >= 0;
      if (knows_last && knows_next && !joined_.contains(pair_of(last, next))) {
        return at;
      }
      last = next;
      knows_last = knows_next;
      at += length;
    }
    return word.size();
  }

 private:
  struct Merge {
    std::int32_t rank;
    std::int32_t merged;
  };
  struct Symbol {
    std::int32_t id;  // -1 once it is merged into the previous one
    std::int32_t previous;
    std::int32_t next;
  };
  using Queue =
      std::priority_queue<std::tuple<std::int32_t, std::int32_t, std::int32_t>,
                          std::vector<std::tuple<std::int32_t, std::int32_t, std::int32_t>>,
                          std::greater<>>;  // rank, place of the left symbol, merged

  void read_merges(Fields& fields) {
    const nlohmann::json& merges = fields.find("merges");
    if (!merges.is_array()) {
      fields.refuse("merges " + quote(merges.dump()), "a list of pairs");
    }
    can_cut_ = prefix_.empty() && suffix_.empty();
    std::int32_t rank = 0;
    for (const nlohmann::json& one : merges) {
      const auto [left, right] = parts_of(one, fields);
      const std::int32_t merged = id_of(left + right.substr(prefix_.size()));
      const std::int32_t left_id = id_of(left);
      const std::int32_t right_id = id_of(right);
      if (left_id < 0 || right_id < 0 || merged < 0) {
        fields.refuse(
            fmt::format("merge {}: {}, of which the vocab lacks a part,", rank, quote(one.dump())),
            "words of the vocab");
      }
      merges_[pair_of(left_id, right_id)] = {rank++, merged};
      joined_.insert(pair_of(back(left), front(right)));
      can_cut_ = can_cut_ && !left.starts_with("<0x") && !right.starts_with("<0x");
    }
  }

  std::pair<std::string, std::string> parts_of(const nlohmann::json& merge,
                                               const Fields& fields) const {
    std::string left;
    std::string right;
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0];
      right = merge[1];
    } else if (merge.is_string()) {
      const std::string& text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space == text.rfind(' ') && space != std::string::npos) {
        left = text.substr(0, space);
        right = text.substr(space + 1);
      }
    }
    if (left.empty() || right.size() < std::max<std::size_t>(prefix_.size(), 1)) {
      fields.refuse("merge " + quote(merge.dump()), "\"LEFT RIGHT\" or [\"LEFT\", \"RIGHT\"]");
    }
    return {std::move(left), std::move(right)};
  }

  void add_symbols(std::string_view word, std::vector<std::int32_t>& symbols) const {
    bool has_unknown = false;  // after the last symbol, not yet added
    std::string affixed;
    for (std::size_t at = 0; at < word.size();) {
      const std::size_t length = front_length(word.substr(at));
      std::string_view one = word.substr(at, length);
      const bool is_first = at == 0;
      at += length;
      if (!(is_first || prefix_.empty()) || (at == word.size() && !suffix_.empty())) {
        affixed = is_first ? "" : prefix_;
        affixed.append(one).append(at == word.size() ? suffix_ : "");
        one = affixed;
      }
      if (const std::int32_t id = id_of(one); id >= 0) {
        if (std::exchange(has_unknown, false)) {
          symbols.push_back(unknown_);
        }
        symbols.push_back(id);
      } else if (!(has_bytes_ && detail::append_bytes(one, ids(), symbols)) &&
                 !unknown_text_.empty()) {
        require_unknown(one);
        if (has_unknown && !fuses_unknown_) {
          symbols.push_back(unknown_);
        }
        has_unknown = true;
      }
    }
    if (has_unknown) {
      symbols.push_back(unknown_);
    }
  }

  void require_unknown(std::string_view one) const {
    if (unknown_ < 0) {
      throw FileError(fmt::format(
          "tokenizer: {} is not a token, and the vocab lacks the unknown one, {}; use a model with "
          "another tokenizer",
          quote(one), quote(unknown_text_)));
    }
  }

  void merge(std::vector<std::int32_t> ids, std::vector<std::int32_t>& tokens) const {
    const auto count = static_cast<std::int32_t>(ids.size());
    std::vector<Symbol> symbols;
    symbols.reserve(ids.size());
    for (std::int32_t i = 0; i < count; ++i) {
      symbols.push_back({ids[static_cast<std::size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1});
    }
    const auto at = [&](std::int32_t place) -> Symbol& {
      return symbols[static_cast<std::size_t>(place)];
    };
    Queue queue;
    const auto offer = [&](std::int32_t left) {
      if (left < 0 || at(left).next < 0) {
        return;
      }
      const auto found = merges_.find(pair_of(at(left).id, at(at(left).next).id));
      if (found != merges_.end()) {
        queue.emplace(found->second.rank, left, found->second.merged);
      }
    };
    for (std::int32_t i = 0; i < count; ++i) {
      offer(i);
    }
    while (!queue.empty()) {
      const auto [rank, left, merged] = queue.top();
      queue.pop();
      const std::int32_t right = at(left).id < 0 ? -1 : at(left).next;
      if (right < 0) {
        continue;
      }
      // A queued pair may have become part of another symbol.
      const auto now = merges_.find(pair_of(at(left).id, at(right).id));
      if (now == merges_.end() || now->second.merged != merged) {
        continue;
      }
      at(left).id = merged;
      at(left).next = at(right).next;
      at(right).id = -1;
      if (at(left).next >= 0) {
        at(at(left).next).previous = left;
      }
      offer(at(left).previous);
      offer(left);
    }
    for (const Symbol& symbol : symbols) {
      if (symbol.id >= 0) {
        tokens.push_back(symbol.id);
      }
    }
  }

  std::string prefix_;
  std::string suffix_;
  bool fuses_unknown_;
  bool has_bytes_;
  bool ignores_merges_;
  std::string unknown_text_;
  std::int32_t unknown_ = -1;
  std::unordered_map<std::uint64_t, Merge> merges_;
  std::unordered_set<std::uint64_t> joined_;  // pairs of characters that merges bring together
  bool can_cut_ = false;
};

}  // namespace

TokenModelPointer make_bpe(Fields& fields) { return std::make_shared<Bpe>(fields); }

}  // namespace halfback
