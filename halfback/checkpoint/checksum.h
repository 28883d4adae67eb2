// Size and checksum of a file, which distinguish a torn or altered file from the one that was
// written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace halfback {

// `bytes` counts the bytes added. CRC-32 detects accidents, not attacks.
struct FileSummary {
  std::uint64_t bytes = 0;
  std::uint32_t crc32 = 0;

  void add(std::string_view more);
  bool operator==(const FileSummary&) const = default;
};

// By file name.
using FileSummaries = std::map<std::string, FileSummary>;

// Throws FileError saying what is wrong with the file unless it matches. Reads all of it.
void require_unaltered(const std::filesystem::path& path, const FileSummary& expected);

bool is_unaltered(const std::filesystem::path& path, const FileSummary& expected);

}  // namespace halfback
