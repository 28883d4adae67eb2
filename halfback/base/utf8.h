// UTF-8 characters in arbitrary bytes. Source: RFC 3629.
#pragma once

#include <cstddef>
#include <string_view>

namespace halfback {

// Returns the number of bytes of the text's first character. Returns 0 if there is none: at the end
// of the text, and for a character that is invalid, cut off, overlong or outside Unicode.
std::size_t character_length(std::string_view text);

}  // namespace halfback
