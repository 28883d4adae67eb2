// A run in words: what its training state remembers, so that a resume is compared with it, and what
// its user is told.
#pragma once

#include "halfback/schedule/losses.h"
#include "halfback/train/training_config.h"

#include <map>
#include <string>
#include <vector>

namespace halfback {

// Options that affect later steps and that may differ when a run resumes.
std::map<std::string, std::string> options_of(const TrainingConfig& config);

// Returns the losses of a run by the blocks of its model, so that they compare whatever the number
// of stages: "3:0,7:4 sum linear" has one after block 3, whose gradient reaches block 0. Backprop
// by the model's own loss is the empty text. Where a loss compares the samples of a micro-batch,
// the number of those belongs to it.
std::string losses_by_block(const TrainingConfig& config, const std::vector<int>& cut);

// Returns "snip 0.9", or nothing for a run without pruning.
std::string pruning_of(const TrainingConfig& config);

// Returns "stage 0 (blocks 0-1), stage 2 (block 4)": those whose weights take no gradient.
std::string untrained_stages(const Losses& losses, const std::vector<int>& cut);

}  // namespace halfback
