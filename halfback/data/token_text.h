// Text as the tokens of a tokenizer, encoded whole when it is opened, at 4 bytes of memory per
// token. Each part of the file is encoded by itself, so that validation uses the same bytes with
// any tokenizer.
#pragma once

#include "halfback/data/text.h"
#include "halfback/data/tokenizer.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace halfback {

// Thread-safe after construction.
class TokenText final : public Text {
 public:
  // Called while encoding, with the number of bytes encoded so far and the size of the file.
  using OnEncoded = std::function<void(std::int64_t, std::int64_t)>;

  // Throws like Text and its lay_windows().
  TokenText(const TextOptions& options,
            const Tokenizer& tokenizer,
            const OnEncoded& on_encoded = {});

 private:
  void copy_tokens(Part part, std::int64_t begin, std::span<std::int64_t> to) const override;

  std::vector<std::int32_t> training_;
  std::vector<std::int32_t> validation_;
};

}  // namespace halfback
