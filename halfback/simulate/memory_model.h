// Bytes of tensors that a rank holds while it runs its list, and bytes that it holds permanently:
// parameters, their gradients and optimizer state. The former depend only on the order of the
// rank's list, not on time, so they equal what an executor counts after each action, to the byte.
//
// Receive buffers of a reduction over D replicas, (D-1)/D of the bytes of a stage's gradients, are
// not included: they are not activations, and depend on when other ranks are ready.
#pragma once

#include "halfback/base/stage_bytes.h"
#include "halfback/schedule/schedule.h"

#include <cstdint>
#include <vector>

namespace halfback {

struct MemoryModel {
  std::vector<StageBytes> stages;       // one for all, or one per stage
  std::vector<StateBytes> states = {};  // the same; empty if unknown

  const StageBytes& stage(int index) const;
  StateBytes state(int index) const;  // all 0 if unknown
};

// The bytes that a rank holds between two actions, by what they wait for.
struct MemoryParts {
  std::int64_t until_input = 0;   // kept by F for I
  std::int64_t until_weight = 0;  // kept by F for W
  std::int64_t gradients = 0;     // kept by I for W
  std::int64_t messages = 0;      // made and not yet sent, or arrived and not yet taken

  std::int64_t total() const { return until_input + until_weight + gradients + messages; }
  bool operator==(const MemoryParts&) const = default;
};

struct MemoryPrediction {
  std::vector<std::int64_t> peak;                // by rank: the largest of its curve
  std::vector<std::vector<std::int64_t>> curve;  // by rank: bytes held after each action
  std::vector<MemoryParts> at_peak;              // by rank: when it first holds the most
};

// Predicts the memory of a step. With messages in the schedule, a tensor counts for its maker until
// the send and for its taker from the receive on; without messages, tensors between ranks do not
// count. Between two stages of one rank it counts from the start. Once an action has taken a
// tensor, the bytes that the action keeps include it. Each gradient that passes a stage and that
// its weights take is kept, with a copy of what F kept for W. Expects a valid schedule; throws
// ConfigError unless the model has one entry for all stages or one for each. Linear in the number
// of actions.
MemoryPrediction predict_memory(const Schedule& schedule, const MemoryModel& model);

// Returns, by rank, the parts after each action: predict_memory's curve is their totals. Their
// times are the ends of the rank's spans.
std::vector<std::vector<MemoryParts>> memory_parts(const Schedule& schedule,
                                                   const MemoryModel& model);

// Returns, by rank, the bytes that all its stages, of all replicas, hold permanently.
std::vector<StateBytes> constant_memory(const Schedule& schedule, const MemoryModel& model);

}  // namespace halfback
