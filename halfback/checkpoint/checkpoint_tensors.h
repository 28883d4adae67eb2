// The tensors of stages under the names that they have in a checkpoint, which know nothing of
// stages.
#pragma once

#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/engine/stage.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace halfback {

// In front of the names of values in the training state, which are those of the model before they
// were converted to a smaller type.
inline constexpr const char* kExactValue = "value.";

// The stages of a model, or those of them that a process holds, in order.
using StageList = std::vector<Stage*>;

// All that a checkpoint holds of one stage: the stage's own buffers, or copies of them.
struct StageBuffers {
  const ParameterStore* store = nullptr;  // names and places; outlives this
  at::Tensor values;
  at::Tensor statistics;
  std::vector<std::pair<std::string, at::Tensor>> state;  // of the optimizer, by kind
};

// Returns the stage's own buffers, without the optimizer's state and with all of it.
StageBuffers value_buffers_of(Stage& stage);
StageBuffers buffers_of(Stage& stage, std::vector<ShardedBuffer>& state);

// Copies buffers into others on the CPU. Those are made at the first time and used again after it;
// their memory is counted to no rank when the thread is none's.
void copy_buffers(const StageBuffers& from, StageBuffers& to);

// Whether copies of parameters on later stages are among the tensors: a file has each once, under
// its original.
enum class Copies { With, Without };

// Returns the named parts of the values, those that do not train among them.
std::vector<NamedTensor> value_tensors(const StageBuffers& stage, Copies copies);

// Returns the named parts of the optimizer's state: kind by kind in model order, so that a file
// does not depend on the cut.
std::vector<NamedTensor> state_tensors(const std::vector<StageBuffers>& stages, Copies copies);

}  // namespace halfback
