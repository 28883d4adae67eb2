// What an executor asks of its rank's stages: to carry out an action. Tests substitute their own.
#pragma once

#include "halfback/layers/call.h"
#include "halfback/schedule/action.h"
#include "halfback/timeline/timeline.h"

#include <cstddef>
#include <optional>
#include <span>

namespace halfback {

class ActionRunner {
 public:
  ActionRunner() = default;
  ActionRunner(const ActionRunner&) = delete;
  ActionRunner& operator=(const ActionRunner&) = delete;
  virtual ~ActionRunner() = default;

  // F, I or B: takes what a neighboring stage gave, if the schedule names an input, and returns
  // what the next stage gets.
  virtual Tensors compute(const Action& action, Tensors taken) = 0;

  // Computes these W of one stage together.
  virtual void compute_weights(std::span<const Action> weights) = 0;

  // Returns how many of these consecutive W of one stage, from the first on, compute_weights() may
  // take together; at least 1.
  virtual std::size_t num_joined(std::span<const Action> weights) const = 0;

  // REDUCE_GRAD: begins the sum of a stage's gradients over its replicas, without waiting.
  virtual void begin_reduction(const Action& action) = 0;

  // Before U: waits for the sum of the stage's gradients over its replicas, and returns its span;
  // nothing if there is one replica.
  virtual std::optional<Span> finish_sum(const Action& update) = 0;

  // U.
  virtual void update(const Action& action) = 0;
};

}  // namespace halfback
