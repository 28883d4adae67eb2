// What an executor asks of its rank's stages: to do what an action says. Tests give it another one.
#pragma once

#include "halfback/layers/call.h"
#include "halfback/schedule/action.h"

#include <cstddef>
#include <span>

namespace halfback {

class ActionRunner {
 public:
  ActionRunner() = default;
  ActionRunner(const ActionRunner&) = delete;
  ActionRunner& operator=(const ActionRunner&) = delete;
  virtual ~ActionRunner() = default;

  // F, I or B: takes what a neighboring stage gave, if the schedule has it take anything, and
  // returns what the next one gets.
  virtual Tensors compute(const Action& action, Tensors taken) = 0;

  // W of one stage, all of these at once.
  virtual void compute_weights(std::span<const Action> weights) = 0;

  // Returns how many of these W of one stage, which stand together, compute_weights() may take at
  // once: the first so many, at least 1.
  virtual std::size_t num_joined(std::span<const Action> weights) const = 0;

  // RG: begins the sum of a stage's gradients over its replicas, and does not wait.
  virtual void begin_reduction(const Action& action) = 0;

  // U.
  virtual void update(const Action& action) = 0;
};

}  // namespace halfback
