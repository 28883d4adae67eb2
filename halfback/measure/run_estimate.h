// What a run of a study will take, from a few steps of it.
#pragma once

#include "halfback/study/study_file.h"
#include "halfback/train/training_config.h"

#include <cstdint>

namespace halfback {

inline constexpr int kEstimateSteps = 3;  // that are timed, after two to warm up

struct Duration {
  double seconds = 0.0;
  double cpu_seconds = 0.0;  // of all threads
};

struct RunEstimate {
  Duration setup;  // before the first step
  Duration step;   // the median
  Duration evaluation;
  double flops_per_step = 0.0;

  // Returns what a run takes.
  Duration run(std::int64_t num_steps, std::int64_t num_evaluations) const;
};

// Trains a few steps with this configuration; the last one ends with an evaluation, unless the run
// has none, and with what the study measures then. Writes nothing. Throws what Training
// throws.
RunEstimate estimate_run(TrainingConfig config, StudyMeasures measures);

// Returns how many evaluations a run of this configuration has.
std::int64_t num_evaluations(const TrainingConfig& config);

}  // namespace halfback
