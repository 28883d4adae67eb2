// The table of schedule families. Adding one: a source file with its builder, a declaration in
// builders.h, a row in families.cpp.
#pragma once

#include "halfback/schedule/builders.h"

#include <string>
#include <string_view>
#include <vector>

namespace halfback {

struct Family {
  std::string name;
  std::string summary;      // one line
  std::string conditions;   // on N ranks and M micro-batches
  std::string bubble;       // fraction with two_stage, F = I = W = 1, no communication
  std::string peak_memory;  // micro-batches held until W on rank r, with two_stage
  std::string paper;
  int micro_batches_per_rank = 1;  // the natural number; 0: one in all
  Schedule (*build)(const PipelineShape& shape) = nullptr;

  // Returns the number of micro-batches to use where none is asked for.
  int default_micro_batches(int num_ranks) const;
};

// Returns all families in the order they are listed to people.
const std::vector<Family>& families();

// Returns the names of all families.
std::vector<std::string> family_names();

// Builds a schedule by name. Throws ConfigError for an unknown name, with a suggestion, and for a
// shape that the family does not admit.
Schedule build_schedule(std::string_view name, const PipelineShape& shape);

}  // namespace halfback
