// Which tensors cross from stage to stage, and on which channel. Activations cross every boundary;
// gradients cross those that the schedule's losses reach over. A channel is an ordered pair of
// ranks. Activations and gradients of all stages and replicas between the two share it, in one
// order.
//
// All functions expect stages and ranks within the placement.
#pragma once

#include "halfback/schedule/schedule.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <vector>

namespace halfback {

// Returns the stage that an action's tensor comes from or goes to, as if all gradients crossed: the
// previous one for F, RECV_F and SEND_B, the next one for B, I, RECV_B and SEND_F. Returns nothing
// at the ends of the model, and for W, REDUCE_GRAD and U.
inline std::optional<int> other_stage(const Placement& placement, const Action& action) {
  const int step = traits_of(action.kind).other_stage;
  const int stage = action.stage + step;
  return step != 0 && stage >= 0 && stage < placement.num_stages() ? std::optional(stage)
                                                                   : std::nullopt;
}

// Returns the other end of a message: 1SEND_F0 for 2RECV_F0.
inline Action counterpart(const Action& message) {
  const KindTraits& traits = traits_of(message.kind);
  return {traits.other_end, message.stage + traits.other_stage, message.micro_batch, message.slice};
}

// Returns whether a compute action takes the tensor of a neighboring stage: F takes that of the
// previous stage, and I, B or W that of the next one if a gradient arrives there.
inline bool takes_from_neighbor(const Schedule& schedule, const Action& action) {
  if (action.kind == ActionKind::Forward) {
    return action.stage > 0;
  }
  const Losses& losses = schedule.losses;
  const bool takes =
      action.kind == ActionKind::Backward ||
      (action.kind == ActionKind::BackwardInput && !losses.weight_takes(action.stage)) ||
      (action.kind == ActionKind::BackwardWeight && losses.weight_takes(action.stage));
  const int above = action.stage + 1;
  return takes && above < schedule.num_stages() && losses.num_crossing(above) > 0;
}

// Returns the action that makes that tensor; I stands for an I or a B.
inline Action neighbor_input(const Action& action) {
  const bool is_first = action.kind == ActionKind::Forward;
  return {is_first ? ActionKind::Forward : ActionKind::BackwardInput,
          action.stage + (is_first ? -1 : 1), action.micro_batch, action.slice};
}

// The inputs of one action.
class Actions {
 public:
  void add(const Action& action) { actions_[size_++] = action; }
  const Action* begin() const { return actions_.data(); }
  const Action* end() const { return actions_.data() + size_; }

 private:
  std::array<Action, 2> actions_;
  std::size_t size_ = 0;
};

// Returns all actions whose results an action takes, on any rank: that of its own stage, then that
// of another stage. I stands for an I or a B. The send of a receive is not among them.
inline Actions inputs_of(const Schedule& schedule, const Action& action) {
  Actions inputs;
  if (const ActionKind own = traits_of(action.kind).own_input; own != action.kind) {
    inputs.add(action.as(own));
  }
  if (takes_from_neighbor(schedule, action)) {
    inputs.add(neighbor_input(action));
  }
  return inputs;
}

// Returns whether a compute action makes a tensor that a neighboring stage takes, on any rank.
inline bool gives_to_neighbor(const Schedule& schedule, const Action& action) {
  if (action.kind == ActionKind::Forward) {
    return action.stage + 1 < schedule.num_stages();
  }
  return (action.kind == ActionKind::Backward || action.kind == ActionKind::BackwardInput) &&
         schedule.losses.num_crossing(action.stage) > 0;
}

// Returns the send of the tensor that a compute action gives to a neighbor, and the receive of the
// tensor that it takes from one.
inline Action send_for(const Action& action) {
  return action.as(action.kind == ActionKind::Forward ? ActionKind::SendForward
                                                      : ActionKind::SendBackward);
}
inline Action receive_for(const Action& action) {
  return action.as(action.kind == ActionKind::Forward ? ActionKind::RecvForward
                                                      : ActionKind::RecvBackward);
}

// Returns how an action changes what its stage keeps, if one gradient passes it. An F without a
// backward keeps nothing. A W that carries a gradient through the layers also frees what I frees
// otherwise.
inline Kept kept_by(const Losses& losses, const Action& action) {
  if (!losses.has_backward(action.stage)) {
    return {};
  }
  Kept kept = traits_of(action.kind).kept;
  if (losses.weight_takes(action.stage)) {
    kept.until_input += action.kind == ActionKind::BackwardInput    ? 1
                        : action.kind == ActionKind::BackwardWeight ? -1
                                                                    : 0;
  }
  return kept;
}

// Returns the same for the layers alone, without the head of a local loss, and for all gradients
// that pass. Layers that no gradient passes keep nothing. All gradients but the last use copies of
// what F has kept, and each that the weights take stays until W.
inline Kept kept_by_layers(const Losses& losses, const Action& action) {
  const StagePasses passes = losses.passes(action.stage);
  if (passes.at_input + passes.at_weight == 0) {
    return {};
  }
  Kept kept = kept_by(losses, action);
  const int sign = action.kind == ActionKind::BackwardInput    ? 1
                   : action.kind == ActionKind::BackwardWeight ? -1
                                                               : 0;
  const bool carries = passes.at_weight > 0;
  // Those that the weights take and that I carries.
  const int early = carries ? std::max(passes.taken - passes.at_weight, 0) : passes.taken;
  kept.until_weight += sign * (carries ? early : early - 1);
  kept.gradients += sign * (early - 1);
  return kept;
}

// Returns the same for the head of a local loss.
inline Kept kept_by_head(const Losses& losses, const Action& action) {
  return losses.has_backward(action.stage) ? traits_of(action.kind).kept : Kept{};
}

// Returns the receive that a compute action needs, and the send that follows from it, if the other
// stage is on another rank.
inline std::optional<Action> needed_receive(const Schedule& schedule, const Action& action) {
  const Placement& placement = schedule.placement;
  if (!takes_from_neighbor(schedule, action) ||
      placement.rank_of(neighbor_input(action)) == placement.rank_of(action)) {
    return std::nullopt;
  }
  return receive_for(action);
}
inline std::optional<Action> resulting_send(const Schedule& schedule, const Action& action) {
  const Placement& placement = schedule.placement;
  if (!gives_to_neighbor(schedule, action) ||
      placement.rank_of(counterpart(send_for(action))) == placement.rank_of(action)) {
    return std::nullopt;
  }
  return send_for(action);
}

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
