#include "halfback/data/token_text.h"

#include <algorithm>

namespace halfback {

TokenText::TokenText(const TextOptions& options,
                     const Tokenizer& tokenizer,
                     const OnEncoded& on_encoded)
    : Text(options) {
  const auto encode = [&](std::string_view part, std::size_t before) {
    return tokenizer.encode(part, [&](std::int64_t done) {
      if (on_encoded) {
        on_encoded(static_cast<std::int64_t>(before) + done,
                   static_cast<std::int64_t>(file().bytes().size()));
      }
    });
  };
  training_ = encode(file().training(), 0);
  validation_ = encode(file().validation(), file().training().size());
  lay_windows({.training = static_cast<std::int64_t>(training_.size()),
               .validation = static_cast<std::int64_t>(validation_.size())},
              "tokens");
}

void TokenText::copy_tokens(Part part, std::int64_t begin, std::span<std::int64_t> to) const {
  const std::vector<std::int32_t>& tokens = part == Part::Training ? training_ : validation_;
  std::copy_n(tokens.begin() + begin, to.size(), to.begin());
}

}  // namespace halfback
