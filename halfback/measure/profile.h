// The measured costs of a model's stages: real micro-batches run through real stages, one stage
// after the other, on the threads of one rank. So the numbers are clean for any number of stages
// and cores, and a simulation of N ranks can use them.
#pragma once

#include "halfback/measure/rounds.h"
#include "halfback/schedule/losses.h"
#include "halfback/simulate/cost_file.h"
#include "halfback/timeline/statistics.h"
#include "halfback/train/training_config.h"

#include <vector>

namespace halfback {

struct ProfileRequest {
  int num_ranks = 4;  // each stage gets the threads of one of these ranks
  int num_stages = 4;
  Losses losses = {};  // each with its head
  Rounds rounds;
};

struct Profile {
  TrainingConfig config;          // of what ran
  CostFile file;                  // medians in seconds, and the bytes of each stage
  std::vector<ActionCost> costs;  // the same with their spread, by stage
};

// Measures the model of a configuration; its schedule is not used. Throws like check().
Profile profile(TrainingConfig config, const ProfileRequest& request, const OnRound& on_round);

// How many micro-batches a round runs through a stage before the next stage.
inline constexpr int kProfileMicroBatches = 4;

}  // namespace halfback
