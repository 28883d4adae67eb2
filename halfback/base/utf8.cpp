#include "halfback/base/utf8.h"

namespace halfback {

namespace {

// The number of bytes after the first one of a character, and the range of the second; later ones
// are 0x80 to 0xBF.
struct Rest {
  std::size_t count = 0;
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xBF;
};

Rest rest_of(unsigned char first) {
  if (first >= 0xC2 && first <= 0xDF) {
    return {.count = 1};
  }
  if (first >= 0xE0 && first <= 0xEF) {
    return {.count = 2,
            .second_min = static_cast<unsigned char>(first == 0xE0 ? 0xA0 : 0x80),   // shorter
            .second_max = static_cast<unsigned char>(first == 0xED ? 0x9F : 0xBF)};  // surrogates
  }
  if (first >= 0xF0 && first <= 0xF4) {
    return {.count = 3,
            .second_min = static_cast<unsigned char>(first == 0xF0 ? 0x90 : 0x80),   // shorter
            .second_max = static_cast<unsigned char>(first == 0xF4 ? 0x8F : 0xBF)};  // too large
  }
  return {};
}

}  // namespace

std::size_t character_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) {
    return 0;
  }
  if (byte(0) < 0x80) {
    return 1;
  }
  const Rest rest = rest_of(byte(0));
  if (rest.count == 0 || text.size() <= rest.count || byte(1) < rest.second_min ||
      byte(1) > rest.second_max) {
    return 0;
  }
  for (std::size_t i = 2; i <= rest.count; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) {
      return 0;
    }
  }
  return rest.count + 1;
}

}  // namespace halfback
