// What crosses from stage to stage, and on which channel. An activation crosses every boundary, a
// gradient those that the schedule's cuts let it. A channel is an ordered pair of ranks;
// activations and gradients of all stages and replicas between the two share it, in one order.
//
// All functions expect stages and ranks within the placement.
#pragma once

#include "halfback/schedule/schedule.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace halfback {

// By kind, where the other stage of an action's tensor is: above, below, or nowhere.
inline constexpr std::array<int, kNumActionKinds> kOtherStage = {-1, 1, 1, 0, 1, -1, -1, 1, 0, 0};

constexpr int step_to_other_stage(ActionKind kind) {
  return kOtherStage[static_cast<std::size_t>(kind)];
}

// Returns the stage that an action's tensor comes from or goes to where all gradients cross: F and
// RECV_F the previous, B, I and RECV_B the next for what they take; SEND_F the next, SEND_B the
// previous. Nothing at the ends of the model, for W, REDUCE_GRAD and U.
inline std::optional<int> other_stage(const Placement& placement, const Action& action) {
  const int step = step_to_other_stage(action.kind);
  const int stage = action.stage + step;
  return step != 0 && stage >= 0 && stage < placement.num_stages() ? std::optional(stage)
                                                                   : std::nullopt;
}

// Returns the action whose tensor this compute action takes from another stage, as F of the stage
// before for F; for I, B and W it is an I or a B, given as I.
inline std::optional<Action> taken_from(const Schedule& schedule, const Action& action) {
  if (action.kind == ActionKind::Forward) {
    return action.stage > 0
               ? std::optional(Action{ActionKind::Forward, action.stage - 1, action.micro_batch})
               : std::nullopt;
  }
  const GradientCuts& cuts = schedule.cuts;
  const bool takes =
      action.kind == ActionKind::Backward ||
      (action.kind == ActionKind::BackwardInput && !cuts.weight_takes(action.stage)) ||
      (action.kind == ActionKind::BackwardWeight && cuts.weight_takes(action.stage));
  const int above = action.stage + 1;
  if (!takes || above >= schedule.num_stages() || cuts.num_crossing(above) == 0) {
    return std::nullopt;
  }
  return Action{ActionKind::BackwardInput, above, action.micro_batch};
}

// Returns the other end of a message: 1SEND_F0 for 2RECV_F0.
inline Action counterpart(const Action& message) {
  constexpr std::array kOtherEnd = {ActionKind::RecvForward, ActionKind::SendForward,
                                    ActionKind::RecvBackward, ActionKind::SendBackward};
  const auto number =
      static_cast<std::size_t>(message.kind) - static_cast<std::size_t>(ActionKind::SendForward);
  return {kOtherEnd[number], message.stage + step_to_other_stage(message.kind),
          message.micro_batch};
}

// Returns the receive that a compute action needs, and the send that it makes possible: only where
// the other stage is on another rank.
inline std::optional<Action> needed_receive(const Schedule& schedule, const Action& action) {
  const std::optional<Action> source = taken_from(schedule, action);
  if (!source || schedule.placement.rank_of(*source) == schedule.placement.rank_of(action)) {
    return std::nullopt;
  }
  return Action{
      action.kind == ActionKind::Forward ? ActionKind::RecvForward : ActionKind::RecvBackward,
      action.stage, action.micro_batch};
}
inline std::optional<Action> resulting_send(const Schedule& schedule, const Action& action) {
  if (!is_compute(action.kind) || action.kind == ActionKind::BackwardWeight) {
    return std::nullopt;
  }
  const bool is_forward = action.kind == ActionKind::Forward;
  const Action send{is_forward ? ActionKind::SendForward : ActionKind::SendBackward, action.stage,
                    action.micro_batch};
  const Placement& placement = schedule.placement;
  if ((!is_forward && schedule.cuts.num_crossing(action.stage) == 0) ||
      !other_stage(placement, send) ||
      placement.rank_of(counterpart(send)) == placement.rank_of(action)) {
    return std::nullopt;
  }
  return send;
}

// Numbers the channels of a placement, which must outlive it.
class Channels {
 public:
  explicit Channels(const Placement& placement);

  int count() const { return static_cast<int>(pairs_.size()); }
  int from(int channel) const { return pairs_[static_cast<std::size_t>(channel)].first; }
  int to(int channel) const { return pairs_[static_cast<std::size_t>(channel)].second; }
  // Returns the channel between the same ranks the other way.
  int reverse(int channel) const { return reverse_[static_cast<std::size_t>(channel)]; }
  // Returns the channel of a message between two stages on different ranks.
  int of(const Action& message) const {
    const bool is_forward =
        message.kind == ActionKind::SendForward || message.kind == ActionKind::RecvForward;
    const bool is_lower = step_to_other_stage(message.kind) > 0;
    const std::size_t lower = boundary(message.stage, message.micro_batch) - (is_lower ? 0U : 1U);
    return (is_forward ? forward_ : backward_)[lower];
  }

 private:
  // In forward_ and backward_, by replica and stage s: the channels from s to s + 1 and back.
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
