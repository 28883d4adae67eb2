#include "halfback/data/tokens/characters.h"

#include "halfback/base/error.h"
#include "halfback/base/utf8.h"

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utf8.h>

namespace halfback {

namespace {

// Characters after Unicode 15, with their general categories.
struct Young {
  UChar32 first;
  UChar32 last;
  std::string_view category;
};
constexpr auto kYoungest = std::to_array<Young>(
    {{0x0897, 0x0897, "Mn"},   {0x1B4E, 0x1B4F, "Po"},   {0x1B7F, 0x1B7F, "Po"},
     {0x1C89, 0x1C89, "Lu"},   {0x1C8A, 0x1C8A, "Ll"},   {0x2427, 0x2429, "So"},
     {0x2FFC, 0x2FFF, "So"},   {0x31E4, 0x31E5, "So"},   {0x31EF, 0x31EF, "So"},
     {0xA7CB, 0xA7CC, "Lu"},   {0xA7CD, 0xA7CD, "Ll"},   {0xA7DA, 0xA7DA, "Lu"},
     {0xA7DB, 0xA7DB, "Ll"},   {0xA7DC, 0xA7DC, "Lu"},   {0x105C0, 0x105F3, "Lo"},
     {0x10D40, 0x10D49, "Nd"}, {0x10D4A, 0x10D4D, "Lo"}, {0x10D4E, 0x10D4E, "Lm"},
     {0x10D4F, 0x10D4F, "Lo"}, {0x10D50, 0x10D65, "Lu"}, {0x10D69, 0x10D6D, "Mn"},
     {0x10D6E, 0x10D6E, "Pd"}, {0x10D6F, 0x10D6F, "Lm"}, {0x10D70, 0x10D85, "Ll"},
     {0x10D8E, 0x10D8F, "Sm"}, {0x10EC2, 0x10EC4, "Lo"}, {0x10EFC, 0x10EFC, "Mn"},
     {0x11380, 0x11389, "Lo"}, {0x1138B, 0x1138B, "Lo"}, {0x1138E, 0x1138E, "Lo"},
     {0x11390, 0x113B5, "Lo"}, {0x113B7, 0x113B7, "Lo"}, {0x113B8, 0x113BA, "Mc"},
     {0x113BB, 0x113C0, "Mn"}, {0x113C2, 0x113C2, "Mc"}, {0x113C5, 0x113C5, "Mc"},
     {0x113C7, 0x113CA, "Mc"}, {0x113CC, 0x113CD, "Mc"}, {0x113CE, 0x113CE, "Mn"},
     {0x113CF, 0x113CF, "Mc"}, {0x113D0, 0x113D0, "Mn"}, {0x113D1, 0x113D1, "Lo"},
     {0x113D2, 0x113D2, "Mn"}, {0x113D3, 0x113D3, "Lo"}, {0x113D4, 0x113D5, "Po"},
     {0x113D7, 0x113D8, "Po"}, {0x113E1, 0x113E2, "Mn"}, {0x116D0, 0x116E3, "Nd"},
     {0x11BC0, 0x11BE0, "Lo"}, {0x11BE1, 0x11BE1, "Po"}, {0x11BF0, 0x11BF9, "Nd"},
     {0x11F5A, 0x11F5A, "Mn"}, {0x13460, 0x143FA, "Lo"}, {0x16100, 0x1611D, "Lo"},
     {0x1611E, 0x16129, "Mn"}, {0x1612A, 0x1612C, "Mc"}, {0x1612D, 0x1612F, "Mn"},
     {0x16130, 0x16139, "Nd"}, {0x16D40, 0x16D42, "Lm"}, {0x16D43, 0x16D6A, "Lo"},
     {0x16D6B, 0x16D6C, "Lm"}, {0x16D6D, 0x16D6F, "Po"}, {0x16D70, 0x16D79, "Nd"},
     {0x18CFF, 0x18CFF, "Lo"}, {0x1CC00, 0x1CCEF, "So"}, {0x1CCF0, 0x1CCF9, "Nd"},
     {0x1CD00, 0x1CEB3, "So"}, {0x1E5D0, 0x1E5ED, "Lo"}, {0x1E5EE, 0x1E5EF, "Mn"},
     {0x1E5F0, 0x1E5F0, "Lo"}, {0x1E5F1, 0x1E5FA, "Nd"}, {0x1E5FF, 0x1E5FF, "Po"},
     {0x1F8B2, 0x1F8BB, "So"}, {0x1F8C0, 0x1F8C1, "So"}, {0x1FA89, 0x1FA89, "So"},
     {0x1FA8F, 0x1FA8F, "So"}, {0x1FABE, 0x1FABE, "So"}, {0x1FAC6, 0x1FAC6, "So"},
     {0x1FADC, 0x1FADC, "So"}, {0x1FADF, 0x1FADF, "So"}, {0x1FAE9, 0x1FAE9, "So"},
     {0x1FBCB, 0x1FBEF, "So"}, {0x2EBF0, 0x2EE5D, "Lo"}});

// Uppercase letters after Unicode 15: first, last, and the distance to their lowercase letters.
struct LowerCase {
  char32_t first;
  char32_t last;
  std::int32_t distance;
};
constexpr auto kYoungestLowerCase = std::to_array<LowerCase>({{0x1C89, 0x1C89, 1},
                                                              {0xA7CB, 0xA7CB, -42343},
                                                              {0xA7CC, 0xA7CC, 1},
                                                              {0xA7CE, 0xA7CE, 1},
                                                              {0xA7D2, 0xA7D2, 1},
                                                              {0xA7D4, 0xA7D4, 1},
                                                              {0xA7DA, 0xA7DA, 1},
                                                              {0xA7DC, 0xA7DC, -42561},
                                                              {0x10D50, 0x10D65, 32},
                                                              {0x16EA0, 0x16EB8, 27}});

// Returns the characters of an ICU pattern, plus the youngest of these major categories.
icu::UnicodeSet set_of(const std::string& pattern, std::string_view youngest = "") {
  UErrorCode error = U_ZERO_ERROR;
  icu::UnicodeSet set(icu::UnicodeString::fromUTF8(pattern), error);
  HALFBACK_CHECK(U_SUCCESS(error), u_errorName(error));
  for (const Young& young : kYoungest) {
    if (youngest.find(young.category[0]) != std::string_view::npos) {
      set.add(young.first, young.last);
    }
  }
  set.freeze();
  return set;
}

bool is_in(const icu::UnicodeSet& set, char32_t character) {
  return set.contains(static_cast<UChar32>(character)) != 0;
}

}  // namespace

std::string to_valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    U8_FWD_1(text.data(), at, text.size());
    const std::string_view part = text.substr(begin, at - begin);
    valid += character_length(part) > 0 ? part : "\uFFFD";
  }
  return valid;
}

std::size_t length_without_broken_end(std::string_view text) {
  auto length = static_cast<std::ptrdiff_t>(text.size());
  U8_TRUNCATE_IF_INCOMPLETE(text.data(), 0, length);
  return static_cast<std::size_t>(length);
}

std::size_t front_length(std::string_view text) {
  return U8_COUNT_TRAIL_BYTES_UNSAFE(text.front()) + 1U;
}

char32_t front(std::string_view text) {
  char32_t character = 0;
  std::size_t at = 0;
  U8_NEXT_UNSAFE(text.data(), at, character);
  return character;
}

char32_t back(std::string_view text) {
  std::size_t at = text.size();
  U8_BACK_1_UNSAFE(text.data(), at);
  return front(text.substr(at));
}

void append(char32_t character, std::string& text) {
  std::array<char, U8_MAX_LENGTH> bytes{};
  std::size_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, character);
  text.append(bytes.data(), length);
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string map_characters(std::string_view text,
                           const std::function<void(char32_t, std::string&)>& change) {
  std::string changed;
  changed.reserve(text.size());
  for (; !text.empty(); text.remove_prefix(front_length(text))) {
    change(front(text), changed);
  }
  return changed;
}

bool is_white_space(char32_t character) {
  return u_isUWhiteSpace(static_cast<UChar32>(character)) != 0;
}

std::string_view without_space_in_front(std::string_view text) {
  while (!text.empty() && is_white_space(front(text))) {
    text.remove_prefix(front_length(text));
  }
  return text;
}

std::string_view without_space_behind(std::string_view text) {
  while (!text.empty() && is_white_space(back(text))) {
    text.remove_suffix(U8_LENGTH(back(text)));
  }
  return text;
}

bool is_word(char32_t character) {
  static const auto set = set_of("[[:Alphabetic:][:M:][:Nd:][:Pc:]\\u200C\\u200D]", "LMN");
  return is_in(set, character);
}

bool is_numeric(char32_t character) {
  static const auto set = set_of("[:N:]", "N");
  return is_in(set, character);
}

bool is_mark(char32_t character) {
  static const auto set = set_of("[[[:M:]&[:Age=9.0:]]-[\\U000111C9]\\u1CF2\\u1CF3]");
  return is_in(set, character);
}

bool is_control_of_bert(char32_t character) {
  static const auto set = set_of("[[[:Cc:][:Cf:][:Co:]]&[:Age=8.0:]-[\\t\\n\\r]]");
  return is_in(set, character);
}

bool is_accent_of_bert(char32_t character) {
  static const auto set =
      set_of("[[[:Mn:]&[:Age=8.0:]]-[\\u1885\\u1886\\uA9BD\\U000111C9]\\u1734]");
  return is_in(set, character);
}

bool is_punctuation(char32_t character) {
  static const auto set = set_of("[[[:P:][:S:]]&[:ASCII:][[:P:]&[:Age=8.0:]]\\u166D\\U000111C9]");
  return is_in(set, character);
}

void append_lower_case(char32_t character, std::string& text) {
  if (character == 0x130) {
    text += "i\u0307";
    return;
  }
  for (const LowerCase& young : kYoungestLowerCase) {
    if (character < young.first) {
      break;
    }
    if (character <= young.last) {
      append(character + static_cast<char32_t>(young.distance), text);
      return;
    }
  }
  append(static_cast<char32_t>(u_tolower(static_cast<UChar32>(character))), text);
}

std::vector<CharacterRange> young_characters(std::string_view category) {
  const auto set = set_of(fmt::format("[[:{}:]-[:Age=14.0:]]", category));
  std::vector<CharacterRange> ranges;
  for (std::int32_t i = 0; i < set.getRangeCount(); ++i) {
    ranges.push_back({set.getRangeStart(i), set.getRangeEnd(i)});
  }
  for (const Young& young : kYoungest) {
    if (young.category.starts_with(category)) {
      ranges.push_back({young.first, young.last});
    }
  }
  return ranges;
}

}  // namespace halfback
