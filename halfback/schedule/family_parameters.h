// What some families take besides ranks, micro-batches and two_stage: one row each. The command
// line makes its options of the rows, a file refuses them by their names, and the table of families
// says who takes which. A new one: a member of PipelineShape and a row in family_parameters.cpp.
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
  std::string type;    // of its value, as the help calls it
  std::string help;
  Member member;
  // The range, and how it is said, with {} for its end.
  double least = 1.0;
  OfShape most = [](const PipelineShape&) { return std::numeric_limits<double>::max(); };
  std::string range = "1 or more";
  // Where neither the request nor the family says one.
  OfShape natural = [](const PipelineShape&) { return 0.0; };
  bool is_of_all = false;  // every family takes it

  // Returns the value in the shape; none where it is 0, or for a boolean where it is not set.
  std::optional<double> find(const PipelineShape& shape) const;
  void set(PipelineShape& shape, double value) const;
};

// What somebody gave, 1 and 0 for on and off. 0 counts as given here.
using GivenParameters = std::map<const FamilyParameter*, double>;

// Returns all rows in the order in which they are listed to people.
const std::vector<FamilyParameter>& family_parameters();

}  // namespace halfback
