// What a study has found so far: a line for each combination of its grid, over seeds and trials.
#pragma once

#include "halfback/study/study_file.h"
#include "halfback/study/summary.h"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace halfback {

inline constexpr const char* kSeedAxis = "seed";
inline constexpr const char* kTrialAxis = "trial";

struct StudyLine {
  std::vector<Setting> place;  // without the seed and the trial
  int num_complete = 0;
  int num_incomplete = 0;
  int num_infeasible = 0;
  std::vector<double> seed_steps;  // of each seed that has a complete run
  // Over the seeds. Of the trials of a seed one counts, with all its numbers: the complete one with
  // the fewest steps, or where none is, the one with the least loss.
  Summary steps;  // of seed_steps
  Summary validation_loss;
  Summary validation_accuracy;
  Summary step_seconds;
  Summary first_layer_cka;    // of runs that are compared with others
  Summary first_layer_angle;  // mean, in radians
  Summary lipschitz;          // of runs that measure it
};

// Returns the lines in the order of the grid. Each row has its place under "place", as a list of
// [name, label], beside what train_for_study() writes.
std::vector<StudyLine> lines_of(const std::vector<nlohmann::json>& rows);

// Returns a table for people; columns where all lines are empty are left out.
std::string to_text(const std::vector<StudyLine>& lines);

// Returns the rows with a column for each axis and number, sorted by run.
std::string to_csv(const std::vector<nlohmann::json>& rows);

}  // namespace halfback
