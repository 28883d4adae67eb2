// Numbers for what crosses from stage to stage, as places in tables.
#pragma once

#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/schedule.h"

#include <cstddef>
#include <utility>
#include <vector>

namespace halfback {

// Numbers what stages take or make, as places in tables: an activation for each stage and
// micro-batch, a gradient for each stage, micro-batch and loss that the stage names.
class TensorCells {
 public:
  explicit TensorCells(const Schedule& schedule);

  std::size_t num_activations() const { return (begin_.size() - 1) * num_micro_batches_; }
  std::size_t num_gradients() const { return begin_.back() * num_micro_batches_; }
  // Returns the place of the activation or the gradient of an action or message.
  std::size_t of(const Action& action) const {
    const auto stage = static_cast<std::size_t>(action.stage);
    return (is_forward(action.kind) ? stage : begin_[stage] + gradient_place(*losses_, action)) *
               num_micro_batches_ +
           static_cast<std::size_t>(action.micro_batch);
  }

 private:
  const Losses* losses_;
  std::size_t num_micro_batches_;
  std::vector<std::size_t> begin_;  // by stage: the number of gradients of all stages before
};

// Numbers the channels of a placement, which must outlive it.
class Channels {
 public:
  explicit Channels(const Placement& placement);

  int count() const { return static_cast<int>(pairs_.size()); }
  int from(int channel) const { return pairs_[static_cast<std::size_t>(channel)].first; }
  int to(int channel) const { return pairs_[static_cast<std::size_t>(channel)].second; }
  // Returns the channel between the same ranks in the other direction.
  int reverse(int channel) const { return reverse_[static_cast<std::size_t>(channel)]; }
  // Returns the channel of a message between two stages on different ranks.
  int of(const Action& message) const {
    const bool is_lower = is_forward(message.kind) == is_send(message.kind);
    const std::size_t lower = boundary(message.stage, message.micro_batch) - (is_lower ? 0U : 1U);
    return (is_forward(message.kind) ? forward_ : backward_)[lower];
  }

 private:
  // Index into forward_ and backward_, which hold, by replica and stage s, the channels from s to s
  // + 1 and back.
  std::size_t boundary(int stage, int micro_batch) const {
    return static_cast<std::size_t>(placement_->replica_of(micro_batch)) * num_boundaries_ +
           static_cast<std::size_t>(stage);
  }

  const Placement* placement_;
  std::size_t num_boundaries_;
  std::vector<std::pair<int, int>> pairs_;  // ranks, ascending
  std::vector<int> reverse_;                // by channel
  std::vector<int> forward_;
  std::vector<int> backward_;
};

}  // namespace halfback
