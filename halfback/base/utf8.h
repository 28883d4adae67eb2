// Characters of UTF-8 in bytes that may be anything. Source: RFC 3629.
#pragma once

#include <cstddef>
#include <string_view>

namespace halfback {

// Returns how many bytes the character takes that the text begins with; 0 when it begins with none:
// at its end, at a byte that begins no character, one cut off, too long or outside Unicode.
std::size_t character_length(std::string_view text);

}  // namespace halfback
