// What actions cost, for the simulator. Times are seconds, or any one unit.
//
// The text form is "f,i,w" or "f,i,w,b" for all stages alike. The file is JSON:
//
//   {"stages": [{"forward": 1, "input": 1, "weight": 1, "full": 2, "update": 0}, ...],
//    "latency": 0}
//
// with one entry for all stages alike, or one a stage; "full", "update" and "latency" may be left
// out.
#pragma once

#include "halfback/schedule/action.h"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

struct StageCost {
  double forward = 1.0;
  double input = 1.0;
  double weight = 1.0;
  std::optional<double> full = std::nullopt;  // of B; not given: input + weight
  double update = 0.0;

  // Returns the time of a compute or update action; 0 for messages.
  double of(ActionKind kind) const;
};

struct CostModel {
  std::vector<StageCost> stages = {StageCost{}};  // one for all, or one a stage
  double latency = 0.0;                           // of a hop between different ranks

  const StageCost& stage(int index) const;
  // Throws ConfigError unless there is one entry or one a stage, and all are finite and >= 0.
  void check(int num_stages) const;
};

// Reads "f,i,w" or "f,i,w,b". Throws ConfigError.
CostModel parse_costs(std::string_view text);

// Reads and writes the JSON form. Reading throws ConfigError with source_name for what it does not
// understand, unknown keys included.
CostModel parse_cost_file(std::string_view json, const std::string& source_name);
std::string to_cost_file(const CostModel& model);

// Reads and writes a file. Throws FileError when that fails.
CostModel load_costs(const std::filesystem::path& path);
void save_costs(const CostModel& model, const std::filesystem::path& path);

}  // namespace halfback
