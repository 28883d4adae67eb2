// The characters that stand for bytes in the words of byte-level models: printable bytes for
// themselves, the others from U+0100 on. Source: encoder.py of GPT-2.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace halfback {

// Returns a character for each byte.
std::string to_byte_characters(std::string_view bytes);

// Returns the bytes, or nothing if a character does not stand for a byte.
std::optional<std::string> from_byte_characters(std::string_view text);

}  // namespace halfback
