#include "halfback/data/tokens/byte_characters.h"

#include "halfback/data/tokens/characters.h"

#include <array>

namespace halfback {

namespace {

bool is_plain(char32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

constexpr char32_t kFirstOther = 0x100;

struct Tables {
  Tables() {
    char32_t next = kFirstOther;
    for (char32_t byte = 0; byte < 256; ++byte) {
      const char32_t character = is_plain(byte) ? byte : next++;
      append(character, texts[byte]);
      bytes[character] = static_cast<int>(byte);
    }
  }
  std::array<std::string, 256> texts;
  std::array<int, kFirstOther + 256> bytes = [] {
    std::array<int, kFirstOther + 256> none{};
    none.fill(-1);
    return none;
  }();
};

const Tables& tables() {
  static const Tables made;
  return made;
}

}  // namespace

std::string to_byte_characters(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    text += tables().texts[static_cast<unsigned char>(byte)];
  }
  return text;
}

std::optional<std::string> from_byte_characters(std::string_view text) {
  std::string bytes;
  for (; !text.empty(); text.remove_prefix(front_length(text))) {
    const char32_t one = front(text);
    if (one >= tables().bytes.size() || tables().bytes[one] < 0) {
      return std::nullopt;
    }
    bytes += static_cast<char>(tables().bytes[one]);
  }
  return bytes;
}

}  // namespace halfback
