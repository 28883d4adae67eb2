#include "halfback/data/gzip.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <zlib.h>

namespace halfback {

namespace {

constexpr int kGzipWindow = 15 + 16;  // the largest window, and gzip's header before it
constexpr std::size_t kLargestInput = std::size_t{1} << 30;
constexpr std::size_t kChunkBytes = std::size_t{1} << 16;

[[noreturn]] void refuse(const std::string& source, int status, const z_stream& stream) {
  throw FileError(fmt::format(
      "{}: its compressed bytes are {} ({}); expected what gzip wrote; fetch the file again",
      source, status == Z_BUF_ERROR ? "cut off" : "damaged",
      stream.msg != nullptr ? stream.msg : ::zError(status)));
}

}  // namespace

std::string gunzip(std::string_view compressed,
                   std::uint64_t max_bytes,
                   const std::string& source) {
  z_stream stream = {};
  HALFBACK_CHECK(::inflateInit2(&stream, kGzipWindow) == Z_OK, source);
  const std::unique_ptr<z_stream, decltype(&::inflateEnd)> ended(&stream, ::inflateEnd);
  std::array<char, kChunkBytes> chunk;
  std::string output;
  for (int status = Z_OK; status != Z_STREAM_END || !compressed.empty();) {
    if (status == Z_STREAM_END) {
      ::inflateReset(&stream);  // for the next member
    }
    const std::size_t given = std::min(compressed.size(), kLargestInput);
    // zlib's interface lacks const; it does not write to its input.
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
    stream.avail_in = static_cast<uInt>(given);
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    status = ::inflate(&stream, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END) {
      refuse(source, status, stream);
    }
    compressed.remove_prefix(given - stream.avail_in);
    output.append(chunk.data(), chunk.size() - stream.avail_out);
    if (output.size() > max_bytes) {
      throw FileError(
          fmt::format("{}: holds more than {} bytes once decompressed; that is the most for such a "
                      "file; use a smaller one",
                      source, max_bytes));
    }
  }
  return output;
}

std::string read_maybe_gzip(const std::filesystem::path& path, std::uint64_t max_bytes) {
  std::string bytes = read_file(path, max_bytes);
  return bytes.starts_with("\x1f\x8b") ? gunzip(bytes, max_bytes, path.string()) : bytes;
}

}  // namespace halfback
