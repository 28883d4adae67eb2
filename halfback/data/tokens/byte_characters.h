// The characters that represent bytes in the words of byte-level models: printable bytes represent
// themselves, the others use U+0100 and up. Source: encoder.py of GPT-2.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace halfback {

// Returns a character for each byte.
std::string to_byte_characters(std::string_view bytes);

// Returns the bytes, or nothing if a character does not represent a byte.
std::optional<std::string> from_byte_characters(std::string_view text);

}  // namespace halfback
