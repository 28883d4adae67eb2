// The CRC-32 of gzip and zlib, which detects accidents, not attacks.
#pragma once

#include <cstdint>
#include <string_view>

namespace halfback {

// Returns the checksum of earlier bytes, whose checksum is `before`, followed by these.
std::uint32_t crc32_of(std::string_view bytes, std::uint32_t before = 0);

}  // namespace halfback
