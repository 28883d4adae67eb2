// A schedule as people name it: a family, or a file.
#pragma once

#include "halfback/schedule/family_parameters.h"
#include "halfback/schedule/schedule.h"
#include "halfback/schedule/search/task_graph.h"

#include <optional>
#include <string>

namespace halfback {

// The number of ranks of a family if none is given.
inline constexpr int kDefaultRanks = 4;

// What the user asked for. What is not given comes from the file, or from the family's defaults:
// kDefaultRanks, its natural number of micro-batches, split backward, and the natural values of its
// parameters.
struct ShapeRequest {
  std::optional<int> num_ranks = std::nullopt;
  std::optional<int> num_micro_batches = std::nullopt;
  std::optional<bool> two_stage = std::nullopt;
  GivenParameters parameters = {};  // refused for files and for families that do not take them
  // The losses, as losses_text() writes them, and which gradient weights take, by name. Refused for
  // files; the losses also for families that have their own. Then stages are updated in the lists
  // by default, as those of the local- families are.
  std::optional<std::string> losses = std::nullopt;
  std::optional<std::string> weight_rule = std::nullopt;
  // Lengths for with_queues(), as in 2 or 1,0,8. Refused for files.
  std::optional<std::string> queues = std::nullopt;
  int num_pipelines = 1;  // for data_parallel(); the members above are for each
  ShareTimes times = {};  // for families that search; others and files ignore them
  bool verifies = true;   // files; families are valid by construction
};

// Returns the schedule of the family of that name, or of the file if it exists, ends in .csv or
// contains a slash. The result is replicated `num_pipelines` times. A file is validated with
// buffered channels if `verifies` is set. Throws ConfigError if nothing has that name or the
// request contradicts the file or the family; FileError and ScheduleError for the file itself.
Schedule load_or_build(const std::string& name_or_file, const ShapeRequest& request);

// Returns the losses that --losses gives for so many stages. Throws ConfigError.
Losses read_losses(const std::string& text, int num_stages, WeightRule rule = WeightRule::Sum);

}  // namespace halfback
