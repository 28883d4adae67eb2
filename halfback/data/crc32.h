// CRC-32 as gzip and zlib have it: finds accidents, not somebody who means harm.
#pragma once

#include <cstdint>
#include <string_view>

namespace halfback {

// Returns the checksum of what `before` is the checksum of, and these bytes behind it.
std::uint32_t crc32_of(std::string_view bytes, std::uint32_t before = 0);

}  // namespace halfback
