#include "halfback/checkpoint/checksum.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/data/crc32.h"

#include <fmt/format.h>

namespace halfback {

void FileSummary::add(std::string_view more) {
  bytes += more.size();
  crc32 = crc32_of(more, crc32);
}

void require_unaltered(const std::filesystem::path& path, const FileSummary& expected) {
  const MappedFile file(path);
  if (file.bytes().size() != expected.bytes) {
    throw FileError(fmt::format("{}: {} bytes; expected {}, as were written; the file is torn",
                                path.string(), file.bytes().size(), expected.bytes));
  }
  FileSummary found;
  found.add(file.bytes());
  if (found.crc32 != expected.crc32) {
    throw FileError(fmt::format(
        "{}: checksum {:08x}; expected {:08x}, of what was written; the file is altered",
        path.string(), found.crc32, expected.crc32));
  }
}

bool is_unaltered(const std::filesystem::path& path, const FileSummary& expected) {
  try {
    require_unaltered(path, expected);
    return true;
  } catch (const FileError&) {
    return false;
  }
}

}  // namespace halfback
