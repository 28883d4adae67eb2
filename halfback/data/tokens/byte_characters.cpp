#include "halfback/data/tokens/byte_characters.h"

#include "halfback/data/tokens/characters.h"

#include <array>
#include <unordered_map>

namespace halfback {

namespace {

bool is_plain(char32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) ||
         (byte >= 0xAE && byte <= 0xFF);
}

struct Tables {
  Tables() {
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < texts.size(); ++byte) {
      const char32_t character = is_plain(byte) ? byte : next++;
      append(character, texts[byte]);
      bytes[character] = static_cast<char>(byte);
    }
  }
  std::array<std::string, 256> texts;
  std::unordered_map<char32_t, char> bytes;
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
    const auto byte = tables().bytes.find(front(text));
    if (byte == tables().bytes.end()) {
      return std::nullopt;
    }
    bytes += byte->second;
  }
  return bytes;
}

}  // namespace halfback
