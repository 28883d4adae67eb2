// Parameters that some families take besides ranks, micro-batches and two_stage: one row each. The
// command line makes its options from the rows, schedule files refuse them by name, and the table
// of families says which family takes which. A new one needs a member of PipelineShape and a row in
// family_parameters.cpp.
#pragma once

#include "halfback/schedule/builders.h"

#include <limits>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace halfback {

struct FamilyParameter {
  using Member = std::
      variant<int PipelineShape::*, double PipelineShape::*, std::optional<bool> PipelineShape::*>;
  using OfShape = double (*)(const PipelineShape&);

  std::string option;  // on the command line
  std::string type;    // of its value, as shown in the help
  std::string help;
  Member member;
  // The range, and its text with {} for its end.
  double least = 1.0;
  OfShape most = [](const PipelineShape&) { return std::numeric_limits<double>::max(); };
  std::string range = "1 or more";
  // The value if neither the request nor the family has one.
  OfShape natural = [](const PipelineShape&) { return 0.0; };
  bool is_of_all = false;  // every family takes it

  // Returns the value in the shape, or nothing if it is 0 or an unset boolean.
  std::optional<double> find(const PipelineShape& shape) const;
  void set(PipelineShape& shape, double value) const;
};

// Values that the user gave, with 1 and 0 for on and off. Here 0 counts as given.
using GivenParameters = std::map<const FamilyParameter*, double>;

// Returns all rows in the order of listings.
const std::vector<FamilyParameter>& family_parameters();

}  // namespace halfback
