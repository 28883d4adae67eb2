#include "halfback/data/tokens/characters.h"

#include "halfback/base/utf8.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <unicode/uchar.h>

namespace halfback {

namespace {

// Those after Unicode 15.
constexpr auto kYoungest = std::to_array<CharacterRange>(
    {{0x0897, 0x0897, 'M', 'n'},   {0x1B4E, 0x1B4F, 'P', 'o'},   {0x1B7F, 0x1B7F, 'P', 'o'},
     {0x1C89, 0x1C89, 'L', 'u'},   {0x1C8A, 0x1C8A, 'L', 'l'},   {0x2427, 0x2429, 'S', 'o'},
     {0x2FFC, 0x2FFF, 'S', 'o'},   {0x31E4, 0x31E5, 'S', 'o'},   {0x31EF, 0x31EF, 'S', 'o'},
     {0xA7CB, 0xA7CC, 'L', 'u'},   {0xA7CD, 0xA7CD, 'L', 'l'},   {0xA7DA, 0xA7DA, 'L', 'u'},
     {0xA7DB, 0xA7DB, 'L', 'l'},   {0xA7DC, 0xA7DC, 'L', 'u'},   {0x105C0, 0x105F3, 'L', 'o'},
     {0x10D40, 0x10D49, 'N', 'd'}, {0x10D4A, 0x10D4D, 'L', 'o'}, {0x10D4E, 0x10D4E, 'L', 'm'},
     {0x10D4F, 0x10D4F, 'L', 'o'}, {0x10D50, 0x10D65, 'L', 'u'}, {0x10D69, 0x10D6D, 'M', 'n'},
     {0x10D6E, 0x10D6E, 'P', 'd'}, {0x10D6F, 0x10D6F, 'L', 'm'}, {0x10D70, 0x10D85, 'L', 'l'},
     {0x10D8E, 0x10D8F, 'S', 'm'}, {0x10EC2, 0x10EC4, 'L', 'o'}, {0x10EFC, 0x10EFC, 'M', 'n'},
     {0x11380, 0x11389, 'L', 'o'}, {0x1138B, 0x1138B, 'L', 'o'}, {0x1138E, 0x1138E, 'L', 'o'},
     {0x11390, 0x113B5, 'L', 'o'}, {0x113B7, 0x113B7, 'L', 'o'}, {0x113B8, 0x113BA, 'M', 'c'},
     {0x113BB, 0x113C0, 'M', 'n'}, {0x113C2, 0x113C2, 'M', 'c'}, {0x113C5, 0x113C5, 'M', 'c'},
     {0x113C7, 0x113CA, 'M', 'c'}, {0x113CC, 0x113CD, 'M', 'c'}, {0x113CE, 0x113CE, 'M', 'n'},
     {0x113CF, 0x113CF, 'M', 'c'}, {0x113D0, 0x113D0, 'M', 'n'}, {0x113D1, 0x113D1, 'L', 'o'},
     {0x113D2, 0x113D2, 'M', 'n'}, {0x113D3, 0x113D3, 'L', 'o'}, {0x113D4, 0x113D5, 'P', 'o'},
     {0x113D7, 0x113D8, 'P', 'o'}, {0x113E1, 0x113E2, 'M', 'n'}, {0x116D0, 0x116E3, 'N', 'd'},
     {0x11BC0, 0x11BE0, 'L', 'o'}, {0x11BE1, 0x11BE1, 'P', 'o'}, {0x11BF0, 0x11BF9, 'N', 'd'},
     {0x11F5A, 0x11F5A, 'M', 'n'}, {0x13460, 0x143FA, 'L', 'o'}, {0x16100, 0x1611D, 'L', 'o'},
     {0x1611E, 0x16129, 'M', 'n'}, {0x1612A, 0x1612C, 'M', 'c'}, {0x1612D, 0x1612F, 'M', 'n'},
     {0x16130, 0x16139, 'N', 'd'}, {0x16D40, 0x16D42, 'L', 'm'}, {0x16D43, 0x16D6A, 'L', 'o'},
     {0x16D6B, 0x16D6C, 'L', 'm'}, {0x16D6D, 0x16D6F, 'P', 'o'}, {0x16D70, 0x16D79, 'N', 'd'},
     {0x18CFF, 0x18CFF, 'L', 'o'}, {0x1CC00, 0x1CCEF, 'S', 'o'}, {0x1CCF0, 0x1CCF9, 'N', 'd'},
     {0x1CD00, 0x1CEB3, 'S', 'o'}, {0x1E5D0, 0x1E5ED, 'L', 'o'}, {0x1E5EE, 0x1E5EF, 'M', 'n'},
     {0x1E5F0, 0x1E5F0, 'L', 'o'}, {0x1E5F1, 0x1E5FA, 'N', 'd'}, {0x1E5FF, 0x1E5FF, 'P', 'o'},
     {0x1F8B2, 0x1F8BB, 'S', 'o'}, {0x1F8C0, 0x1F8C1, 'S', 'o'}, {0x1FA89, 0x1FA89, 'S', 'o'},
     {0x1FA8F, 0x1FA8F, 'S', 'o'}, {0x1FABE, 0x1FABE, 'S', 'o'}, {0x1FAC6, 0x1FAC6, 'S', 'o'},
     {0x1FADC, 0x1FADC, 'S', 'o'}, {0x1FADF, 0x1FADF, 'S', 'o'}, {0x1FAE9, 0x1FAE9, 'S', 'o'},
     {0x1FBCB, 0x1FBEF, 'S', 'o'}, {0x2EBF0, 0x2EE5D, 'L', 'o'}});

// Letters after Unicode 15 with a lower case: from first to last, and how far it is.
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

template <typename Ranges>
const auto* find_range(const Ranges& ranges, char32_t character) {
  const auto found = std::find_if(ranges.begin(), ranges.end(), [&](const auto& range) {
    return range.first <= character && character <= range.last;
  });
  return found == ranges.end() ? nullptr : &*found;
}

bool has_category(char32_t character, std::uint32_t mask) {
  return (U_GET_GC_MASK(static_cast<UChar32>(character)) & mask) != 0;
}

bool is_youngest(char32_t character, char major) {
  if (character < kYoungest.front().first || !has_category(character, U_GC_CN_MASK)) {
    return false;
  }
  const auto* const range = find_range(kYoungest, character);
  return range != nullptr && range->major == major;
}

int age(char32_t character) {
  UVersionInfo version;
  u_charAge(static_cast<UChar32>(character), static_cast<std::uint8_t*>(version));
  return version[0];
}

bool had_category(char32_t character, std::uint32_t mask, int newest) {
  return has_category(character, mask) && age(character) <= newest;
}

// Returns the length of the longest front that more bytes could make a character; 1 for none.
std::size_t broken_length(std::string_view text) {
  const std::size_t whole = front_length(text);
  for (std::size_t length = std::min(whole - 1, text.size()); length > 1; --length) {
    const std::string completed =
        std::string(text.substr(0, length)) + std::string(whole - length, '\x80');
    if (character_length(completed) == whole) {
      return length;
    }
  }
  return 1;
}

std::vector<CharacterRange> find_young_characters() {
  constexpr std::string_view kMajors = "-LLLLLMMMNNNZZZCCCCPPPPPSSSSPP";
  constexpr std::string_view kMinors = "-ultmonecdloslpcfosdsecomckoif";
  std::vector<CharacterRange> ranges(kYoungest.begin(), kYoungest.end());
  for (char32_t one = 0x80; one <= 0x10FFFF; ++one) {
    const auto type = static_cast<std::size_t>(u_charType(static_cast<UChar32>(one)));
    if (type == U_UNASSIGNED || age(one) < 15) {
      continue;
    }
    const CharacterRange range{one, one, kMajors[type], kMinors[type]};
    if (CharacterRange& last = ranges.back();
        last.last + 1 == one && last.major == range.major && last.minor == range.minor) {
      last.last = one;
    } else {
      ranges.push_back(range);
    }
  }
  return ranges;
}

}  // namespace

std::string to_valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    std::size_t length = character_length(text);
    if (length > 0) {
      valid += text.substr(0, length);
    } else {
      valid += "\uFFFD";
      length = broken_length(text);
    }
    text.remove_prefix(length);
  }
  return valid;
}

std::size_t front_length(std::string_view text) {
  const auto first = static_cast<unsigned char>(text.front());
  return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

char32_t front(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  const std::size_t length = front_length(text);
  char32_t character = length == 1 ? byte(0) : byte(0) & (0x7FU >> length);
  for (std::size_t at = 1; at < length; ++at) {
    character = character << 6U | (byte(at) & 0x3FU);
  }
  return character;
}

void append(char32_t character, std::string& text) {
  const auto byte = [&](char32_t bits) { text += static_cast<char>(bits); };
  const auto tail = [&](unsigned shift) { byte(0x80U | (character >> shift & 0x3FU)); };
  if (character < 0x80) {
    byte(character);
  } else if (character < 0x800) {
    byte(0xC0U | character >> 6U);
    tail(0);
  } else if (character < 0x10000) {
    byte(0xE0U | character >> 12U);
    tail(6);
    tail(0);
  } else {
    byte(0xF0U | character >> 18U);
    tail(12);
    tail(6);
    tail(0);
  }
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

bool is_word(char32_t character) {
  return u_isUAlphabetic(static_cast<UChar32>(character)) != 0 ||
         has_category(character, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) ||
         character == 0x200C || character == 0x200D || is_youngest(character, 'L') ||
         is_youngest(character, 'M') || is_youngest(character, 'N');
}

bool is_numeric(char32_t character) {
  return has_category(character, U_GC_N_MASK) || is_youngest(character, 'N');
}

bool is_mark(char32_t character) {
  return (had_category(character, U_GC_M_MASK, 9) && character != 0x111C9) || character == 0x1CF2 ||
         character == 0x1CF3;
}

bool is_control_of_bert(char32_t character) {
  return character != '\t' && character != '\n' && character != '\r' &&
         had_category(character, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK, 8);
}

bool is_accent_of_bert(char32_t character) {
  constexpr auto kChanged = std::to_array<char32_t>({0x1885, 0x1886, 0xA9BD, 0x111C9});
  return (had_category(character, U_GC_MN_MASK, 8) &&
          std::find(kChanged.begin(), kChanged.end(), character) == kChanged.end()) ||
         character == 0x1734;
}

bool is_punctuation(char32_t character) {
  return (character < 0x80 && has_category(character, U_GC_P_MASK | U_GC_S_MASK)) ||
         had_category(character, U_GC_P_MASK, 8) || character == 0x166D || character == 0x111C9;
}

void append_lower_case(char32_t character, std::string& text) {
  if (character == 0x130) {
    text += "i\u0307";
    return;
  }
  const auto* const range = character < kYoungestLowerCase.front().first
                                ? nullptr
                                : find_range(kYoungestLowerCase, character);
  append(range != nullptr ? character + static_cast<char32_t>(range->distance)
                          : static_cast<char32_t>(u_tolower(static_cast<UChar32>(character))),
         text);
}

const std::vector<CharacterRange>& young_characters() {
  static const std::vector<CharacterRange> all = find_young_characters();
  return all;
}

}  // namespace halfback
