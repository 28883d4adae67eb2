// The run's numbers as JSON lines: one object per step, each on disk's way when append() returns.
#pragma once

#include "halfback/base/file.h"
#include "halfback/checkpoint/checksum.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>

namespace halfback {

// Appends to a metrics file. Not thread-safe. Throws FileError when it cannot be read or written.
class MetricsLog {
 public:
  // Starts an empty file, or, given the step that a run resumes from, continues the one that
  // is there: lines of later steps are dropped (they will come again), and so is a last line that
  // was cut short. Throws FileError with file and line for any other line that is no JSON object.
  explicit MetricsLog(const std::filesystem::path& path,
                      std::optional<std::int64_t> resumed_step = std::nullopt);

  // Writes one line. `values` is an object with an integer "step". A number that is not finite
  // becomes null, as JSON has none.
  void append(const nlohmann::json& values);

  // Returns size and checksum of the file.
  const FileSummary& summary() const { return summary_; }

 private:
  FileSummary summary_;
  OutputFile file_;
};

}  // namespace halfback
