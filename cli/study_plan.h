// What a study will take: its runs, their operations and, from a few steps of each line of its
// grid, the time.
#pragma once

#include "halfback/measure/run_estimate.h"
#include "halfback/study/study_file.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace halfback::cli {

struct StudyPlan {
  std::string file;
  Study study;
  std::vector<StudyRun> runs;
  std::set<int> done;  // numbers of runs that have a row
  int num_at_once = 1;
  int num_cores = 1;
};

// Prints all runs; then trains a few steps for each combination of the grid without seed and trial,
// of which runs are left, and prints what these runs will take. Throws like config_of() and
// estimate_run().
void print_plan(const StudyPlan& plan);

}  // namespace halfback::cli
