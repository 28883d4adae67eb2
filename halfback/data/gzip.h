// Files that gzip may have compressed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace halfback {

// Returns the decompressed bytes of all members in a row. Throws FileError beginning with `source`
// for bytes that are damaged, truncated, or longer than `max_bytes` when decompressed.
std::string gunzip(std::string_view compressed, std::uint64_t max_bytes, const std::string& source);

// Returns the bytes of a file, decompressed if it begins like a gzip file. Throws FileError.
std::string read_maybe_gzip(const std::filesystem::path& path, std::uint64_t max_bytes);

}  // namespace halfback
