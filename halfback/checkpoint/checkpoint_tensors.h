// The tensors of stages under their names in a checkpoint, which do not depend on stages.
#pragma once

#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/engine/stage.h"

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

namespace halfback {

// Prefix of the names of exact values in the training state: the model's values before they were
// converted to a smaller type.
inline constexpr const char* kExactValue = "value.";

// The stages of a model, or those that a process holds, in order.
using StageList = std::vector<Stage*>;

// Everything that a checkpoint contains of one stage: the stage's own buffers, or copies of them.
struct StageBuffers {
  const ParameterStore* store = nullptr;  // names and places; outlives this
  at::Tensor values;
  at::Tensor statistics;
  std::vector<std::pair<std::string, at::Tensor>> state;  // of the optimizer, by kind
};

// Returns the stage's own buffers, without the optimizer's state and with all of it.
StageBuffers value_buffers_of(Stage& stage);
StageBuffers buffers_of(Stage& stage, std::vector<ShardedBuffer>& state);

// Copies buffers into others on the CPU. Those are allocated the first time and then reused. On a
// thread of no rank, their memory is counted to none.
void copy_buffers(const StageBuffers& from, StageBuffers& to);

// Whether to include copies of parameters on later stages: a file has each parameter once, under
// its original.
enum class Copies { With, Without };

// Returns the named parts of the values, including those that do not train.
std::vector<NamedTensor> value_tensors(const StageBuffers& stage, Copies copies);

// Returns the named parts of the optimizer's state: kind by kind in model order, so that a file
// does not depend on how the model is cut.
std::vector<NamedTensor> state_tensors(const std::vector<StageBuffers>& stages, Copies copies);

}  // namespace halfback
