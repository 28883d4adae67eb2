// Size and checksum of a file: they distinguish a torn or altered file from the one that was
// written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

namespace halfback {

// Counts the bytes that were added. CRC-32 finds accidents, not somebody who means harm.
struct FileSummary {
  std::uint64_t bytes = 0;
  std::uint32_t crc32 = 0;

  void add(std::string_view more);
  bool operator==(const FileSummary&) const = default;
};

// By file name.
using FileSummaries = std::map<std::string, FileSummary>;

// Throws FileError saying what is wrong with the file unless it has these bytes. Reads all of it.
void require_unaltered(const std::filesystem::path& path, const FileSummary& expected);

bool is_unaltered(const std::filesystem::path& path, const FileSummary& expected);

}  // namespace halfback
