// What the stages of a model cost, measured: real micro-batches through real stages, one stage
// after the other on the threads of one rank. So the numbers are clean for any number of stages,
// whatever the number of cores, and a simulation of N ranks has something to go by.
#pragma once

#include "cli/training_options.h"
#include "halfback/simulate/cost_file.h"
#include "halfback/timeline/statistics.h"

#include <cstdint>
#include <functional>
#include <vector>

namespace halfback::cli {

struct ProfileRequest {
  int num_ranks = 4;  // each stage gets the threads of one of so many
  int stages_per_rank = 1;
  std::int64_t num_rounds = 10;
  std::int64_t num_warmup_rounds = 2;
};

struct Profile {
  TrainingConfig config;          // of what ran
  CostFile file;                  // medians in seconds, and the bytes of each stage
  std::vector<ActionCost> costs;  // the same with their spread, by stage
};

// Measures the model that the options describe. Throws ConfigError for a request out of range.
// `on_round` is called after every round with the number done and the number there are.
Profile profile(const TrainingOptions& options,
                const ProfileRequest& request,
                const std::function<void(std::int64_t, std::int64_t)>& on_round);

}  // namespace halfback::cli
