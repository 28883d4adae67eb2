// Text as bytes: any file, 256 tokens, no tokenizer. The file is mapped, so nothing is copied.
#pragma once

#include "halfback/data/text.h"

#include <cstdint>
#include <span>

namespace halfback {

// Thread-safe after construction.
class ByteText final : public Text {
 public:
  static constexpr std::int64_t kVocabularySize = 256;

  // Throws like Text and its lay_windows().
  explicit ByteText(const TextOptions& options);

 private:
  void copy_tokens(Part part, std::int64_t begin, std::span<std::int64_t> to) const override;
};

}  // namespace halfback
