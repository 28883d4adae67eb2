// Unicode characters as Hugging Face's tokenizers library sees them. It takes their properties from
// several tables of different ages, and ids depend on them: a mark added after Unicode 8 is not an
// accent to BertNormalizer. Our own table contains the characters that are newer than ICU's.
//
// Source: the behavior of tokenizers 0.23 for every character, against the Unicode Character
// Database 17.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// Returns the text with U+FFFD for each maximal part that cannot become a character, as Python's
// decode(errors="replace") does.
std::string to_valid_utf8(std::string_view text);

// Returns the length without an incomplete character at the end.
std::size_t length_without_broken_end(std::string_view text);

// Returns the length of the first character of a valid text.
std::size_t front_length(std::string_view text);

// Returns the first character of a valid text.
char32_t front(std::string_view text);

// Returns the last character of a valid text.
char32_t back(std::string_view text);

void append(char32_t character, std::string& text);

// Returns the text with each `from` replaced by `to`.
std::string replaced(std::string text, std::string_view from, std::string_view to);

// Returns the valid text with each character replaced by what `change` appends for it.
std::string map_characters(std::string_view text,
                           const std::function<void(char32_t, std::string&)>& change);

bool is_white_space(char32_t character);
std::string_view without_space_in_front(std::string_view text);
std::string_view without_space_behind(std::string_view text);

bool is_word(char32_t character);     // \w of Rust's regex
bool is_numeric(char32_t character);  // N
bool is_mark(char32_t character);     // M of Unicode 9

// Unicode 8, as in BERT's normalizer and pre-tokenizer.
bool is_control_of_bert(char32_t character);
bool is_accent_of_bert(char32_t character);
bool is_punctuation(char32_t character);

void append_lower_case(char32_t character, std::string& text);

// Characters from first to last.
struct CharacterRange {
  std::int32_t first;
  std::int32_t last;
};

// Returns the characters of a general category, such as "L" or "Lu", added after Unicode 14.
std::vector<CharacterRange> young_characters(std::string_view category);

}  // namespace halfback
