// Bytes of tensors that a rank holds while it runs its list, and what is there all the time:
// parameters, their gradients and optimizer state. The first depends on the order of that rank's
// list only, not on time, so that it can be compared to the byte with what an executor counts after
// each action.
//
// Not in it: what a reduction over D replicas receives into while it is under way, (D-1)/D of the
// bytes of a stage's gradients. It is no activation, and depends on when others are ready.
#pragma once

#include "halfback/base/stage_bytes.h"
#include "halfback/schedule/schedule.h"

#include <cstdint>
#include <vector>

namespace halfback {

struct MemoryModel {
  std::vector<StageBytes> stages;       // one for all, or one a stage
  std::vector<StateBytes> states = {};  // the same; empty where they are not known

  const StageBytes& stage(int index) const;
  StateBytes state(int index) const;  // all 0 where not known
};

// What a rank holds between two actions, by what it waits for.
struct MemoryParts {
  std::int64_t until_input = 0;   // kept by F for I
  std::int64_t until_weight = 0;  // kept by F for W
  std::int64_t gradients = 0;     // kept by I for W
  std::int64_t messages = 0;      // made and not sent, or arrived and not taken

  std::int64_t total() const { return until_input + until_weight + gradients + messages; }
  bool operator==(const MemoryParts&) const = default;
};

struct MemoryPrediction {
  std::vector<std::int64_t> peak;                // by rank: the largest of its curve
  std::vector<std::vector<std::int64_t>> curve;  // by rank: bytes held after each action
  std::vector<MemoryParts> at_peak;              // by rank: the first time that it holds the most
};

// Predicts the memory of a step. With messages in the schedule, a tensor is its maker's until the
// send and its taker's from the receive on; between two stages of one rank it is the rank's from
// the start; without messages, it is not counted between ranks. What an action takes is from then
// on in the bytes that the action keeps. Where the gradients of several losses pass a stage, what
// is kept for one of them counts: copies for the others are made and freed inside actions, or are
// not counted. Expects a schedule that validates; throws ConfigError
// unless the model has one stage for all or each. Linear in the number of actions.
MemoryPrediction predict_memory(const Schedule& schedule, const MemoryModel& model);

// Returns by rank the parts after each action: predict_memory's curve is their totals. Their times
// are the ends of the rank's spans.
std::vector<std::vector<MemoryParts>> memory_parts(const Schedule& schedule,
                                                   const MemoryModel& model);

// Returns by rank what all copies of stages on it hold all the time.
std::vector<StateBytes> constant_memory(const Schedule& schedule, const MemoryModel& model);

}  // namespace halfback
