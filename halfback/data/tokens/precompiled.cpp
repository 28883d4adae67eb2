// The layout is that of SentencePiece's builder.cc: the length of the trie in bytes, its units of
// 32 bits, then the replacements, each up to a NUL byte. Units are those of darts-clone.
#include "halfback/base/error.h"
#include "halfback/data/tokens/characters.h"
#include "halfback/data/tokens/normalizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <unicode/brkiter.h>
#include <unicode/utext.h>
#include <utility>
#include <vector>

namespace halfback {

namespace {

std::string from_base64(std::string_view text, const std::string& part) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  std::uint32_t bits = 0;
  int num_bits = 0;
  for (const char one : text.substr(0, text.find_last_not_of('=') + 1)) {
    const std::size_t digit = kDigits.find(one);
    if (digit == std::string_view::npos) {
      throw FileError(part +
                      ": precompiled_charsmap is not base64; the file is damaged; fetch it again");
    }
    bits = bits << 6U | static_cast<std::uint32_t>(digit);
    num_bits += 6;
    if (num_bits >= 8) {
      num_bits -= 8;
      bytes += static_cast<char>(bits >> static_cast<unsigned>(num_bits) & 0xFFU);
    }
  }
  return bytes;
}

class Rules {
 public:
  Rules(const std::string& bytes, const std::string& part) {
    std::uint32_t trie_bytes = 0;
    if (bytes.size() >= sizeof(trie_bytes)) {
      std::memcpy(&trie_bytes, bytes.data(), sizeof(trie_bytes));
    }
    if (trie_bytes < 4 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4) {
      throw FileError(
          fmt::format("{}: precompiled_charsmap says that its trie has {} bytes of {}; the file is "
                      "damaged; fetch it again",
                      part, trie_bytes, bytes.size()));
    }
    units_.resize(trie_bytes / 4);
    std::memcpy(units_.data(), &bytes[4], trie_bytes);
    texts_ = bytes.substr(4 + trie_bytes);
  }

  // Returns the replacement of the shortest rule that matches the beginning of a text.
  std::optional<std::string_view> find(std::string_view text) const {
    std::size_t node = offset(unit(0));
    for (const char one : text) {
      const auto label = static_cast<unsigned char>(one);
      node ^= label;
      const std::uint32_t found = unit(node);
      if (label == 0 || (found & 0x800000FFU) != label) {
        return std::nullopt;
      }
      node ^= offset(found);
      if ((found >> 8U & 1U) != 0) {
        const std::size_t begin = unit(node) & 0x7FFFFFFFU;
        const std::string_view rest =
            std::string_view(texts_).substr(std::min(begin, texts_.size()));
        return rest.substr(0, rest.find('\0'));
      }
    }
    return std::nullopt;
  }

 private:
  static std::size_t offset(std::uint32_t unit) {
    return static_cast<std::size_t>(unit >> 10U) << ((unit & 0x200U) >> 6U);
  }
  std::uint32_t unit(std::size_t node) const { return node < units_.size() ? units_[node] : 0; }

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

// Calls `call` with each grapheme cluster.
template <typename Call>
void for_each_cluster(const std::string& text, const Call& call) {
  UErrorCode error = U_ZERO_ERROR;
  const std::unique_ptr<icu::BreakIterator> ends(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), error));
  UText opened = UTEXT_INITIALIZER;
  utext_openUTF8(&opened, text.data(), static_cast<std::int64_t>(text.size()), &error);
  HALFBACK_CHECK(U_SUCCESS(error), u_errorName(error));
  ends->setText(&opened, error);
  HALFBACK_CHECK(U_SUCCESS(error), u_errorName(error));
  std::int32_t begin = ends->first();
  for (std::int32_t end = ends->next(); end != icu::BreakIterator::DONE; end = ends->next()) {
    call(std::string_view(text).substr(static_cast<std::size_t>(begin),
                                       static_cast<std::size_t>(end - begin)));
    begin = end;
  }
  utext_close(&opened);
}

}  // namespace

Normalizer make_precompiled(std::string_view base64, const std::string& part) {
  const auto rules = std::make_shared<const Rules>(from_base64(base64, part), part);
  return [rules](const std::string& text) {
    std::string made;
    made.reserve(text.size());
    for_each_cluster(text, [&](std::string_view cluster) {
      if (const auto found = rules->find(cluster); found && cluster.size() < 6) {
        made += *found;
        return;
      }
      for (; !cluster.empty(); cluster.remove_prefix(front_length(cluster))) {
        const std::string_view one = cluster.substr(0, front_length(cluster));
        made += rules->find(one).value_or(one);
      }
    });
    return made;
  };
}

}  // namespace halfback
