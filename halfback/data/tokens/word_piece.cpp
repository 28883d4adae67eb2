// Takes the longest piece that a word begins with, then the longest for the rest. Source: Wu et
// al., "Google's Neural Machine Translation System", arXiv:1609.08144, 4.1; BERT's tokenization.py.
#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/fields.h"
#include "halfback/data/tokens/token_model.h"

#include <utility>

namespace halfback {

namespace {

class WordPiece final : public TokenModel {
 public:
  explicit WordPiece(Fields& fields)
      : TokenModel(detail::read_ids(fields)),
        prefix_(fields.get<std::string>("continuing_subword_prefix", "##")),
        longest_(fields.get<std::int64_t>("max_input_chars_per_word", 100)) {
    const auto unknown = fields.get<std::string>("unk_token", "[UNK]");
    unknown_ = id_of(unknown);
    if (unknown_ < 0) {
      fields.refuse(fmt::format("unk_token {}, which the vocab lacks,", quote(unknown)),
                    "one of its words");
    }
  }

  void encode(std::string_view word, std::vector<std::int32_t>& tokens) const override {
    const std::size_t before = tokens.size();
    std::vector<std::size_t> ends;
    for (std::size_t at = 0; at < word.size();) {
      at += front_length(word.substr(at));
      ends.push_back(at);
    }
    bool is_known = static_cast<std::int64_t>(ends.size()) <= longest_;
    std::string piece;
    for (std::size_t begin = 0; is_known && begin < word.size();) {
      std::int32_t id = -1;
      std::size_t end = begin;
      for (auto last = ends.rbegin(); last != ends.rend() && *last > begin && id < 0; ++last) {
        end = *last;
        piece = begin == 0 ? "" : prefix_;
        id = id_of(piece.append(word, begin, end - begin));
      }
      is_known = id >= 0;
      tokens.push_back(id);
      begin = end;
    }
    if (!is_known) {
      tokens.resize(before);
      tokens.push_back(unknown_);
    }
  }

 private:
  std::string prefix_;
  std::int64_t longest_;
  std::int32_t unknown_ = 0;
};

}  // namespace

TokenModelPointer make_word_piece(Fields& fields) { return std::make_shared<WordPiece>(fields); }

}  // namespace halfback
