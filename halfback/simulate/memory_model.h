// Bytes of tensors that a rank holds while it runs its list, beyond parameters, their gradients and
// optimizer state. Depends on the order of that rank's list only, not on time, so that it can be
// compared to the byte with what an executor counts after each action.
#pragma once

#include "halfback/schedule/schedule.h"

#include <cstdint>
#include <vector>

namespace halfback {

// Bytes for one micro-batch of one stage.
struct StageBytes {
  std::int64_t until_input = 0;         // kept from F, freed by I or B
  std::int64_t until_weight = 0;        // kept from F, freed by W or B
  std::int64_t gradients = 0;           // kept from I, freed by W; B keeps none
  std::int64_t activation_message = 0;  // the stage's input, from its arrival until F takes it
  std::int64_t gradient_message = 0;    // its output's gradient, from arrival until I or B takes it
};

struct MemoryModel {
  std::vector<StageBytes> stages;
};

struct MemoryPrediction {
  std::vector<std::int64_t> peak;                // by rank: the largest of its curve
  std::vector<std::vector<std::int64_t>> curve;  // by rank: bytes held after each action
};

// Predicts the memory of a step. With messages in the schedule, a tensor is its maker's until the
// send and its taker's from the receive on; between two stages of one rank it is the rank's from
// the start; without messages, it is not counted between ranks. What an action takes is from then
// on in the bytes that the action keeps. Expects a schedule that validates; throws ConfigError
// unless the model has each stage.
MemoryPrediction predict_memory(const Schedule& schedule, const MemoryModel& model);

}  // namespace halfback
