#include "halfback/base/idx_header.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <limits>

namespace halfback {

namespace {

constexpr std::size_t kMagicBytes = 4;
constexpr std::size_t kSizeBytes = 4;
constexpr unsigned kUnsignedByte = 8;

[[noreturn]] void refuse(const std::string& source, const std::string& found) {
  throw FileError(fmt::format(
      "{}: {}; expected an IDX file of unsigned bytes, as MNIST's; fetch the file again, or use "
      "another",
      source, found));
}

unsigned byte_at(std::string_view file, std::size_t position) {
  return static_cast<unsigned char>(file[position]);
}

std::uint32_t size_at(std::string_view file, std::size_t position) {
  std::uint32_t size = 0;
  for (std::size_t i = 0; i < kSizeBytes; ++i) {
    size = size << 8 | byte_at(file, position + i);
  }
  return size;
}

std::size_t checked_num_dimensions(std::string_view file, const std::string& source) {
  if (file.size() < kMagicBytes) {
    refuse(source, fmt::format("{} bytes are not a header", file.size()));
  }
  if (byte_at(file, 0) != 0 || byte_at(file, 1) != 0) {
    refuse(source, fmt::format("it begins with bytes {} and {}, not with two zeros",
                               byte_at(file, 0), byte_at(file, 1)));
  }
  if (byte_at(file, 2) != kUnsignedByte) {
    refuse(source, fmt::format("its type is {}, not {}", byte_at(file, 2), kUnsignedByte));
  }
  const std::size_t num_dimensions = byte_at(file, 3);
  if (num_dimensions < 1 || num_dimensions > kMaxIdxDimensions) {
    refuse(source,
           fmt::format("it has {} dimensions, not 1 to {}", num_dimensions, kMaxIdxDimensions));
  }
  return num_dimensions;
}

}  // namespace

IdxHeader parse_idx_header(std::string_view file, const std::string& source) {
  const std::size_t num_dimensions = checked_num_dimensions(file, source);
  IdxHeader header{.data_begin = kMagicBytes + num_dimensions * kSizeBytes, .num_bytes = 1};
  if (file.size() < header.data_begin) {
    refuse(source, fmt::format("it ends after {} bytes, inside its header of {}", file.size(),
                               header.data_begin));
  }
  for (std::size_t i = 0; i < num_dimensions; ++i) {
    const std::uint32_t size = size_at(file, kMagicBytes + i * kSizeBytes);
    if (size != 0 && header.num_bytes > std::numeric_limits<std::uint64_t>::max() / size) {
      refuse(source, "its sizes multiply to more than 2^64");
    }
    header.shape.push_back(size);
    header.num_bytes *= size;
  }
  const std::uint64_t found = file.size() - header.data_begin;
  if (found != header.num_bytes) {
    refuse(source,
           fmt::format("it has {} bytes of data where its sizes say {}", found, header.num_bytes));
  }
  return header;
}

}  // namespace halfback
