// A schedule as people name it: a family, or a file.
#pragma once

#include "halfback/schedule/schedule.h"

#include <optional>
#include <string>

namespace halfback {

// What was asked for; what is not given comes from the file, or from the family's defaults: 4
// ranks, its natural number of micro-batches, two-stage.
struct ShapeRequest {
  std::optional<int> num_ranks = std::nullopt;
  std::optional<int> num_micro_batches = std::nullopt;
  std::optional<bool> two_stage = std::nullopt;
  bool verifies = true;  // a file; families are valid by construction
};

// Returns the family of that name, or else the file, when it exists, ends in .csv or has a slash. A
// file is validated with buffered channels, unless told not to. Throws ConfigError when nothing has
// that name or the request contradicts the file or the family; FileError and ScheduleError for the
// file itself.
Schedule load_or_build(const std::string& name_or_file, const ShapeRequest& request);

}  // namespace halfback
