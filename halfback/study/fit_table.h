// Steps to the target over the batch size, fitted (scaling_fit.h): a line for each combination of
// the other axes. Where one of them is the sparsity, each line is also compared with the one that
// is dense: Lee et al. find that a sparse network needs more steps at all batch sizes by about one
// factor.
#pragma once

#include "halfback/study/scaling_fit.h"
#include "halfback/study/study_file.h"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace halfback {

// At 95 %: percentiles 2.5 and 97.5 of kNumResamples fits, each to the medians over seeds that are
// drawn with replacement, the same for all batch sizes (summary.h).
struct FitInterval {
  double low = 0.0;
  double high = 0.0;
};

struct FitLine {
  std::vector<Setting> place;  // without the batch size, the seed and the trial
  // The batch sizes with complete runs, ascending; the steps are the median of StudyLine.
  std::vector<ScalingPoint> points;
  std::optional<ScalingFit> fit;  // of three points or more
  FitInterval c1;
  FitInterval c2;
  // To the line that has sparsity 0 and the same place otherwise, if both have a fit.
  std::optional<double> c1_ratio;
  std::optional<double> c2_ratio;
};

// Returns the lines of rows with a target, in the order of the grid; none if there is no axis
// "batch-size" of numbers, or no line has a fit.
std::vector<FitLine> fits_of(const std::vector<nlohmann::json>& rows);

// Returns a table for people, with what its columns mean; nothing without lines.
std::string fit_text(const std::vector<FitLine>& lines);

// Returns the same numbers with all their digits.
std::string fit_csv(const std::vector<FitLine>& lines);

// Returns what the page draws: for each fit {"place", "low", "high", "c1", "c2", "knee"}; low and
// high are the batch sizes at its ends.
nlohmann::json fit_json(const std::vector<FitLine>& lines);

}  // namespace halfback
