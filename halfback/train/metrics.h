// The run's numbers as JSON lines: one object per step, given to the system when append() returns.
#pragma once

#include "halfback/base/file.h"
#include "halfback/checkpoint/checksum.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>

namespace halfback {

// Appends to a metrics file. Not thread-safe. Throws FileError if it cannot be read or written.
class MetricsLog {
 public:
  // Starts an empty file. Given the step that a run resumes from, it continues the existing one
  // instead: lines of later steps, which will come again, are dropped, and so is an incomplete last
  // line. Throws FileError with file and line for any other line that is not a JSON object.
  explicit MetricsLog(const std::filesystem::path& path,
                      std::optional<std::int64_t> resumed_step = std::nullopt);

  // Writes one line. `values` is an object with an integer "step". A number that is not finite
  // becomes null, because JSON cannot represent it.
  void append(const nlohmann::json& values);

  // Returns size and checksum of the file.
  const FileSummary& summary() const { return summary_; }

 private:
  FileSummary summary_;
  OutputFile file_;
};

}  // namespace halfback
