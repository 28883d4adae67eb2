// The table of schedule families. A new one needs a source file with its builder, a declaration in
// builders.h, and a row in family_table.cpp.
#pragma once

#include "halfback/schedule/builders.h"
#include "halfback/schedule/family_parameters.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// Texts are for people, in the terms of builders.h.
struct Family {
  // A parameter that a family takes, and its natural value (limited by the range) if none is given;
  // 0 means the natural value of the parameter's row.
  struct Taken {
    FamilyParameter::Member member;
    double natural = 0.0;
  };

  std::string name;
  std::string summary;     // one line
  std::string conditions;  // on N ranks and M micro-batches
  std::string idle;        // of a rank in a step: two_stage, F = I = W = 1 on 1/N, no communication
  std::string peak_memory;          // M_B until W on the worst rank, with two_stage
  std::string messages = "2(N-1)";  // between ranks, for one micro-batch
  int replicas = 1;                 // of the weights
  std::string paper;
  int micro_batches_per_rank = 1;  // natural number; 0: one in total
  std::vector<Taken> takes = {};   // besides the parameters that all families take
  Schedule (*builder)(const PipelineShape& complete) = nullptr;
  double (*peak_of)(const PipelineShape& complete) = nullptr;

  // Returns the number of micro-batches if none is given.
  int default_micro_batches(int num_ranks) const;
  bool has(const FamilyParameter& row) const;
  // Returns the value if none is given, or nothing if the family does not take the parameter.
  std::optional<double> natural(const FamilyParameter& row, const PipelineShape& shape) const;
  // Throws ConfigError for a parameter that is not taken, and for a value out of its range.
  void require_admitted(const FamilyParameter& row, double value, const PipelineShape& shape) const;
  // Returns the shape with natural values for members that are not set. Throws as
  // require_admitted().
  PipelineShape complete(PipelineShape shape) const;
  // Builds its schedule. Throws ConfigError for a shape that it does not admit.
  Schedule build(const PipelineShape& shape) const;
  // Returns an upper bound of the memory of any rank of that schedule: M_B until W.
  double peak(const PipelineShape& shape) const { return peak_of(complete(shape)); }
};

// The last rows of the table: training with local updates.
std::vector<Family> local_families();

// Returns all families in the order of listings.
const std::vector<Family>& families();

// Returns the names of all families.
std::vector<std::string> family_names();

// Returns "backprop", "greedy", "chunked", "overlapping", "interlocking", "last": ways to train by
// the names that people use. Each stands for a family.
std::vector<std::string> scheme_names();

// Returns the family of that name or scheme; throws ConfigError for an unknown one, with a
// suggestion.
const Family& family(std::string_view name);
bool is_family(std::string_view name);

// Builds a schedule by name. Throws ConfigError for an unknown name and for a shape that the family
// does not admit.
Schedule build_schedule(std::string_view name, const PipelineShape& shape);

}  // namespace halfback
