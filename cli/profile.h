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

struct ProfileRounds {
  std::int64_t num_measured = 10;
  std::int64_t num_warmup = 2;
};

struct ProfileRequest {
  int num_ranks = 4;  // each stage gets the threads of one of so many
  int stages_per_rank = 1;
  ProfileRounds rounds;
};

struct Profile {
  TrainingConfig config;          // of what ran
  CostFile file;                  // medians in seconds, and the bytes of each stage
  std::vector<ActionCost> costs;  // the same with their spread, by stage
};

// Called after every round with the number done and the number there are.
using OnRound = std::function<void(std::int64_t, std::int64_t)>;

// Measures the model that the options describe. Throws ConfigError for a request out of range.
Profile profile(const TrainingOptions& options,
                const ProfileRequest& request,
                const OnRound& on_round);

// Measures the model of a run, cut as for the run's schedule.
Profile profile(const TrainingConfig& run, const ProfileRounds& rounds, const OnRound& on_round);

// How many micro-batches a round takes through a stage before it goes on.
inline constexpr int kProfileMicroBatches = 4;

}  // namespace halfback::cli
