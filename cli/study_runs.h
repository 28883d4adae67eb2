// A run of a study as a command of train, and what train makes of it.
#pragma once

#include "halfback/study/study_file.h"
#include "halfback/train/training_config.h"

#include <string>

namespace halfback::cli {

// Returns "run 3 (scheme greedy, seed 2)".
std::string name_of(const StudyRun& run);

// Returns the command that repeats the run, for a shell.
std::string command_of(const StudyRun& run);

// Reads the options of a run as train would from its command line. A checkpoint to start from and a
// tokenizer to learn make it whole. Throws ConfigError, beginning with the file of the study and
// the name of the run, like RunOptions and, if the first layer is to be kept,
// require_first_layer().
enum class Whole { No, Yes };
TrainingConfig config_of(const StudyRun& run,
                         Whole whole,
                         const std::string& file,
                         const StudyMeasures& measures);

}  // namespace halfback::cli
