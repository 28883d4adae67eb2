// Scalars for TensorBoard: an append-only event file in the log directory.
//
// Records are TFRecords (length and payload, each with a masked CRC-32C) of hand-encoded protobuf
// `Event` messages; no dependency on either library.
#pragma once

#include "halfback/base/file.h"
#include "halfback/checkpoint/checksum.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace halfback {

// Prefix of the names of event files.
inline constexpr const char* kEventFilePrefix = "events.out.tfevents.";

// Writes events.out.tfevents.SECONDS.HOST.PID. Not thread-safe. Throws FileError if the file cannot
// be made or written.
class EventWriter {
 public:
  // Makes the directory if needed. Existing event files stay. Given the step that a run resumes
  // from, TensorBoard drops their points of later steps, which will come again. Another writer
  // within the same second gets a suffix.
  explicit EventWriter(const std::filesystem::path& directory,
                       std::optional<std::int64_t> resumed_step = std::nullopt);
  // Flushes; an error here is lost, so call flush() first.
  ~EventWriter();
  EventWriter(const EventWriter&) = delete;
  EventWriter& operator=(const EventWriter&) = delete;

  // Adds one point, stamped with the time of the call. Kept in memory up to 64 KiB.
  void scalar(std::string_view tag, double value, std::int64_t step);

  // Writes everything to the system.
  void flush();

  const std::filesystem::path& path() const { return path_; }

  // Returns size and checksum of what the file contains.
  const FileSummary& summary() const { return summary_; }

 private:
  std::filesystem::path path_;
  std::optional<OutputFile> file_;
  std::string pending_;
  FileSummary summary_;
};

namespace detail {

// Returns the CRC-32C (Castagnoli) of the bytes.
std::uint32_t crc32c(std::string_view bytes);

// Returns one record: length, its masked CRC, payload, its masked CRC.
std::string tf_record(std::string_view payload);

}  // namespace detail

}  // namespace halfback
