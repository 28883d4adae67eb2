// What a training run would be, without training: where everything goes, what it takes, and how
// long a step would be.
#pragma once

#include "halfback/train/training.h"

#include <iosfwd>
#include <string>

namespace halfback::cli {

struct DryRun {
  int num_processes = 1;
  std::string cost_file;  // of halfback profile; "" to measure
};

// Prints the model, the schedule, for each rank its process, stages, blocks and parameters, the
// bytes that it holds as the memory model predicts them, and the step as the simulator predicts it
// from the cost file, else from a short profile where the machine has the memory for one. Takes
// memory for the profile only. Throws what a training run would throw for the same configuration.
void print_dry_run(const TrainingConfig& config, const DryRun& request, std::ostream& out);

}  // namespace halfback::cli
