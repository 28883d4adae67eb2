// Bytes of tensors that a rank holds while it runs its list, beyond parameters, their gradients and
// optimizer state. Depends on the order of that rank's list only, not on time, so that it can be
// compared to the byte with what an executor counts after each action.
#pragma once

#include "halfback/base/stage_bytes.h"
#include "halfback/schedule/schedule.h"

#include <cstdint>
#include <vector>

namespace halfback {

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
