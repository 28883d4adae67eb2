// The table of schedule families. Adding one: a source file with its builder, a declaration in
// builders.h, a row in families.cpp.
#pragma once

#include "halfback/schedule/builders.h"

#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// Texts are for people, in the terms of builders.h.
struct Family {
  std::string name;
  std::string summary;     // one line
  std::string conditions;  // on N ranks and M micro-batches
  std::string idle;        // of a rank in a step: two_stage, F = I = W = 1 on 1/N, no communication
  std::string peak_memory;          // M_B until W on the worst rank, with two_stage
  std::string messages = "2(N-1)";  // between ranks for one micro-batch
  int replicas = 1;                 // copies of the weights
  std::string paper;
  int micro_batches_per_rank = 1;  // the natural number; 0: one in all
  int stages_per_rank = 0;         // where none is given; 0: it takes no number of them
  bool takes_group_size = false;
  bool takes_memory_limit = false;  // and what is released at I
  bool takes_times = false;
  bool stage_updates = false;                // has U where nobody says otherwise
  int PipelineShape::*local_size = nullptr;  // the one of four that it takes
  int natural_local_size = 0;                // where none is given, as far as ranks allow
  Schedule (*builder)(const PipelineShape& complete) = nullptr;
  double (*peak_of)(const PipelineShape& complete) = nullptr;

  // Returns the number of micro-batches to use where none is asked for.
  int default_micro_batches(int num_ranks) const;
  // Returns the shape with the family's own choice for what is 0. Throws ConfigError for what is
  // set and not taken, or out of its range.
  PipelineShape complete(PipelineShape shape) const;
  // Builds its schedule. Throws ConfigError for a shape that it does not admit.
  Schedule build(const PipelineShape& shape) const;
  // Returns what no rank of that schedule goes beyond: M_B until W.
  double peak(const PipelineShape& shape) const { return peak_of(complete(shape)); }
};

// The last rows of the table: training with local updates.
std::vector<Family> local_families();

// Returns all families in the order they are listed to people.
const std::vector<Family>& families();

// Returns the names of all families.
std::vector<std::string> family_names();

// Returns the family of that name; throws ConfigError for an unknown one, with a suggestion.
const Family& family(std::string_view name);

// Builds a schedule by name. Throws ConfigError for an unknown name and for a shape that the family
// does not admit.
Schedule build_schedule(std::string_view name, const PipelineShape& shape);

}  // namespace halfback
