// What a training run would be, without training: where everything is placed, what it takes, and
// how long a step would be.
#pragma once

#include "halfback/train/training.h"

#include <iosfwd>
#include <string>

namespace halfback::cli {

struct DryRun {
  int num_processes = 1;
  std::string cost_file;  // of halfback profile; "" to measure
};

// Prints the model and the schedule; for each rank its process, stages, blocks and parameters, and
// the bytes that the memory model predicts; and the step that the simulator predicts. Costs are
// those of the cost file, else of a short profile if the machine has the memory for it. Only the
// profile takes memory. Throws what a training run would throw for the same configuration.
void print_dry_run(const TrainingConfig& config, const DryRun& request, std::ostream& out);

}  // namespace halfback::cli
