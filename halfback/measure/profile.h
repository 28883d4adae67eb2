// What the stages of a model cost, measured: real micro-batches through real stages, one stage
// after the other on the threads of one rank. So the numbers are clean for any number of stages,
// whatever the number of cores, and a simulation of N ranks has something to go by.
#pragma once

#include "halfback/measure/rounds.h"
#include "halfback/simulate/cost_file.h"
#include "halfback/timeline/statistics.h"
#include "halfback/train/training_config.h"

#include <vector>

namespace halfback {

struct ProfileRequest {
  int num_ranks = 4;  // each stage gets the threads of one of so many
  int num_stages = 4;
  Rounds rounds;
};

struct Profile {
  TrainingConfig config;          // of what ran
  CostFile file;                  // medians in seconds, and the bytes of each stage
  std::vector<ActionCost> costs;  // the same with their spread, by stage
};

// Measures the model of a configuration; its schedule is not used. Throws as check().
Profile profile(TrainingConfig config, const ProfileRequest& request, const OnRound& on_round);

// How many micro-batches a round takes through a stage before it goes on.
inline constexpr int kProfileMicroBatches = 4;

}  // namespace halfback
