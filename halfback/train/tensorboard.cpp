#include "halfback/train/tensorboard.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace halfback {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMaxPendingBytes = std::size_t{64} << 10;

// Protobuf wire types.
constexpr std::uint64_t kVarint = 0;
constexpr std::uint64_t kFixed64 = 1;
constexpr std::uint64_t kBytes = 2;
constexpr std::uint64_t kFixed32 = 5;

template <typename Unsigned>
void append_little_endian(std::string& out, Unsigned value) {
  for (std::size_t i = 0; i < sizeof(Unsigned); ++i) {
    out += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  }
}

void append_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(static_cast<unsigned char>(value | 0x80));
    value >>= 7;
  }
  out += static_cast<char>(value);
}

void append_key(std::string& out, std::uint64_t field, std::uint64_t wire_type) {
  append_varint(out, field << 3 | wire_type);
}

void append_bytes(std::string& out, std::uint64_t field, std::string_view bytes) {
  append_key(out, field, kBytes);
  append_varint(out, bytes.size());
  out += bytes;
}

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Event.wall_time (1); the other fields follow.
std::string start_event() {
  std::string event;
  append_key(event, 1, kFixed64);
  append_little_endian(event, std::bit_cast<std::uint64_t>(seconds_since_epoch()));
  return event;
}

// Event {step (2), summary (5) {value (1) {tag (1), simple_value (2)}}}.
std::string scalar_event(std::string_view tag, double value, std::int64_t step) {
  std::string point;
  append_bytes(point, 1, tag);
  append_key(point, 2, kFixed32);
  append_little_endian(point, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
  std::string summary;
  append_bytes(summary, 1, point);
  std::string event = start_event();
  append_key(event, 2, kVarint);
  append_varint(event, static_cast<std::uint64_t>(step));
  append_bytes(event, 5, summary);
  return event;
}

// Event {step (2), session_log (7) {status (1) = START (1)}}: points from this step on are void.
std::string restart_event(std::int64_t step) {
  constexpr std::uint64_t kStart = 1;
  std::string status;
  append_key(status, 1, kVarint);
  append_varint(status, kStart);
  std::string event = start_event();
  append_key(event, 2, kVarint);
  append_varint(event, static_cast<std::uint64_t>(step));
  append_bytes(event, 7, status);
  return event;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') {
    return "localhost";
  }
  std::string host(name.data());
  std::replace(host.begin(), host.end(), '/', '_');
  return host;
}

fs::path free_path(const fs::path& directory) {
  const std::string name =
      fmt::format("{}{}.{}.{}", kEventFilePrefix, static_cast<std::int64_t>(seconds_since_epoch()),
                  host_name(), ::getpid());
  fs::path path = directory / name;
  std::error_code ignored;
  for (int i = 1; fs::exists(path, ignored); ++i) {
    path = directory / fmt::format("{}.{}", name, i);
  }
  return path;
}

void make_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    detail::fail_io(directory.string(), "make the directory", error.value());
  }
}

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  constexpr std::uint32_t kReversedPolynomial = 0x82F63B78U;
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) {
      value = (value & 1U) != 0 ? value >> 1 ^ kReversedPolynomial : value >> 1;
    }
    table[byte] = value;
  }
  return table;
}

std::uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(detail::crc32c(bytes), 15) + 0xA282EAD8U;
}

}  // namespace

namespace detail {

std::uint32_t crc32c(std::string_view bytes) {
  static constexpr auto kTable = make_crc_table();
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char byte : bytes) {
    crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFFU];
  }
  return ~crc;
}

std::string tf_record(std::string_view payload) {
  std::string record;
  append_little_endian(record, static_cast<std::uint64_t>(payload.size()));
  append_little_endian(record, masked_crc(record));
  record += payload;
  append_little_endian(record, masked_crc(payload));
  return record;
}

}  // namespace detail

EventWriter::EventWriter(const fs::path& directory, std::optional<std::int64_t> resumed_step) {
  make_directory(directory);
  path_ = free_path(directory);
  file_.emplace(path_, OpenMode::Exclusive);
  std::string event = start_event();
  append_bytes(event, 3, "brain.Event:2");
  pending_ = detail::tf_record(event);
  if (resumed_step) {
    pending_ += detail::tf_record(restart_event(*resumed_step + 1));
  }
  flush();
}

EventWriter::~EventWriter() {
  try {
    flush();
  } catch (const FileError&) {
    // No caller is left to catch an error.
  }
}

void EventWriter::scalar(std::string_view tag, double value, std::int64_t step) {
  pending_ += detail::tf_record(scalar_event(tag, value, step));
  if (pending_.size() >= kMaxPendingBytes) {
    flush();
  }
}

void EventWriter::flush() {
  file_->write(pending_);
  summary_.add(std::exchange(pending_, {}));
}

}  // namespace halfback
