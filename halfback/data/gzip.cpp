#include "halfback/data/gzip.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <zlib.h>

namespace halfback {

namespace {

constexpr int kGzipWindow = 15 + 16;  // the largest window, and gzip's header before it
constexpr std::size_t kLargestInput = std::size_t{1} << 30;
constexpr std::size_t kChunkBytes = std::size_t{1} << 16;

class Inflater {
 public:
  explicit Inflater(const std::string& source) : source_(source) {
    HALFBACK_CHECK(::inflateInit2(&stream_, kGzipWindow) == Z_OK, source);
  }
  ~Inflater() { ::inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Appends the next bytes to `output` and takes what it read from `input`. Returns whether a
  // member ended.
  bool advance(std::string_view& input, std::string& output) {
    const std::size_t given = std::min(input.size(), kLargestInput);
    // zlib's interface has no const; it does not write to its input.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<uInt>(given);
    stream_.next_out = reinterpret_cast<Bytef*>(chunk_.data());
    stream_.avail_out = static_cast<uInt>(chunk_.size());
    const int status = ::inflate(&stream_, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END) {
      fail(status);
    }
    input.remove_prefix(given - stream_.avail_in);
    output.append(chunk_.data(), chunk_.size() - stream_.avail_out);
    if (status == Z_STREAM_END) {
      ::inflateReset(&stream_);
    }
    return status == Z_STREAM_END;
  }

 private:
  [[noreturn]] void fail(int status) const {
    throw FileError(fmt::format(
        "{}: its compressed bytes are {} ({}); expected what gzip wrote; fetch the file anew",
        source_, status == Z_BUF_ERROR ? "cut off" : "damaged",
        stream_.msg != nullptr ? stream_.msg : ::zError(status)));
  }

  const std::string& source_;
  z_stream stream_ = {};
  std::array<char, kChunkBytes> chunk_;
};

}  // namespace

std::string gunzip(std::string_view compressed,
                   std::uint64_t max_bytes,
                   const std::string& source) {
  std::string output;
  Inflater inflater(source);
  bool has_ended = false;
  while (!has_ended || !compressed.empty()) {
    has_ended = inflater.advance(compressed, output);
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
