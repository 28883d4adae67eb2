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
#include <cstdint>
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
  const Action other{traits.other_end, message.stage + traits.other_stage, message.micro_batch,
                     message.slice};
  return message.loss == 0 ? other : other.with_loss(message.loss - 1 - traits.other_stage);
}

// Returns how many stages above an action's own the loss of its gradient is. A stage or a sender
// with one gradient does not name it, and it is the furthest that the stage has.
inline int loss_offset(const Losses& losses, const Action& action) {
  return action.loss > 0 ? action.loss - 1 : losses.furthest(action.stage);
}

// Returns whether a compute action takes the tensor of a neighboring stage: F takes that of the
// previous stage, and I or B that of the next one if its gradient arrives there.
inline bool takes_from_neighbor(const Schedule& schedule, const Action& action) {
  switch (action.kind) {
    case ActionKind::Forward:
      return action.stage > 0;
    case ActionKind::Backward:
    case ActionKind::BackwardInput:
      return schedule.losses.is_backprop() ? action.stage + 1 < schedule.num_stages()
                                           : loss_offset(schedule.losses, action) > 0;
    default:
      return false;
  }
}

// Returns the stage that an action names its loss for, if it has several: the sender's, of a
// message.
inline int naming_stage(const Action& action) {
  return action.stage + (is_receive(action.kind) ? 1 : 0);
}

// Returns a backward action or message of a stage, for a gradient whose loss is so many stages
// above.
inline Action of_gradient(const Losses& losses, const Action& action, int offset) {
  return losses.names_losses(naming_stage(action)) ? action.with_loss(offset)
                                                   : action.without_loss();
}

// Returns whether an action is one of several for a stage and micro-batch, apart by their losses.
inline bool is_one_of_several(const Schedule& schedule, const Action& action) {
  const int stage = naming_stage(action);
  return (traits_of(action.kind).names_loss || action.kind == ActionKind::Backward) &&
         stage < schedule.num_stages() && schedule.losses.names_losses(stage);
}

// Returns whether an action names a loss where it must, and one whose gradient comes to its stage.
inline bool names_right_loss(const Schedule& schedule, const Action& action) {
  if (!is_one_of_several(schedule, action)) {
    return action.loss == 0;
  }
  return action.kind != ActionKind::Backward && action.loss > 0 &&
         schedule.losses.has_gradient(action.stage, action.loss - 1);
}

// Return the number of an action's gradient among the places of its stage and micro-batch in
// tables, and how many those are.
inline std::size_t gradient_place(const Losses& losses, const Action& action) {
  return losses.names_losses(action.stage) ? static_cast<std::size_t>(loss_offset(losses, action))
                                           : 0;
}
inline std::size_t num_gradient_places(const Losses& losses, int stage) {
  return 1 + (losses.names_losses(stage) ? static_cast<std::size_t>(losses.furthest(stage)) : 0);
}

// Returns the action that makes that tensor; I stands for an I or a B.
inline Action neighbor_input(const Schedule& schedule, const Action& action) {
  if (action.kind == ActionKind::Forward) {
    return {ActionKind::Forward, action.stage - 1, action.micro_batch, action.slice};
  }
  const Action input{ActionKind::BackwardInput, action.stage + 1, action.micro_batch, action.slice};
  return schedule.losses.names_losses(input.stage)
             ? input.with_loss(loss_offset(schedule.losses, action) - 1)
             : input;
}

// Returns the action of the same stage that comes before an action, if there is one. Of several
// gradients, each passes the stage after the one before, and W comes after the last.
inline std::optional<Action> own_input(const Schedule& schedule, const Action& action) {
  const ActionKind own = traits_of(action.kind).own_input;
  if (own == action.kind) {
    return std::nullopt;
  }
  const Losses& losses = schedule.losses;
  if (!losses.names_losses(action.stage) || is_send(action.kind)) {
    return action.as(own);
  }
  if (action.kind == ActionKind::BackwardWeight) {
    return action.as(own).with_loss(losses.furthest(action.stage));
  }
  const std::optional<int> before = losses.before(action.stage, loss_offset(losses, action));
  return before ? action.with_loss(*before) : action.as(own).without_loss();
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
  if (const std::optional<Action> own = own_input(schedule, action)) {
    inputs.add(*own);
  }
  if (takes_from_neighbor(schedule, action)) {
    inputs.add(neighbor_input(schedule, action));
  }
  return inputs;
}

// Returns whether a compute action makes a tensor that a neighboring stage takes, on any rank.
inline bool gives_to_neighbor(const Schedule& schedule, const Action& action) {
  switch (action.kind) {
    case ActionKind::Forward:
      return action.stage + 1 < schedule.num_stages();
    case ActionKind::Backward:
    case ActionKind::BackwardInput:
      return schedule.losses.is_backprop()
                 ? action.stage > 0
                 : schedule.losses.continues(action.stage, loss_offset(schedule.losses, action));
    default:
      return false;
  }
}

// Returns the send of the tensor that a compute action gives to a neighbor, and the receive of the
// tensor that it takes from one.
inline Action send_for(const Action& action) {
  return action.as(action.kind == ActionKind::Forward ? ActionKind::SendForward
                                                      : ActionKind::SendBackward);
}
inline Action receive_for(const Schedule& schedule, const Action& action) {
  if (action.kind == ActionKind::Forward) {
    return action.as(ActionKind::RecvForward);
  }
  const Action receive = action.as(ActionKind::RecvBackward);
  return schedule.losses.is_backprop()
             ? receive
             : of_gradient(schedule.losses, receive, loss_offset(schedule.losses, action));
}

// Returns how an action changes what its stage keeps, if one gradient passes it: the last of
// several. An F without a backward keeps nothing.
inline Kept kept_by(const Losses& losses, const Action& action) {
  if (!losses.has_backward(action.stage) ||
      (action.loss > 0 && loss_offset(losses, action) != losses.furthest(action.stage))) {
    return {};
  }
  return traits_of(action.kind).kept;
}

// Returns the same for the layers alone, without the head of a local loss, and for all gradients
// that pass. Layers that no gradient passes keep nothing. All gradients but the last use copies of
// what F has kept, which stay until W if the weights take them.
inline Kept kept_by_layers(const Losses& losses, const Action& action) {
  const StagePasses passes = losses.passes(action.stage);
  if (passes.carried == 0) {
    return {};
  }
  Kept kept = kept_by(losses, action);
  if (action.kind == ActionKind::BackwardWeight) {
    kept.until_weight = kept.gradients = -passes.taken;
  } else if (action.kind == ActionKind::BackwardInput && kept == Kept{} &&
             losses.is_carried(action.stage, loss_offset(losses, action)) &&
             losses.weight_rule() != WeightRule::Furthest) {
    kept.until_weight = kept.gradients = 1;
  }
  return kept;
}

// Returns the same for the head of a stage's own loss.
inline Kept kept_by_head(const Losses& losses, const Action& action) {
  return losses.has_backward(action.stage) && action.loss <= 1 ? traits_of(action.kind).kept
                                                               : Kept{};
}

// Returns the I of all gradients of a stage, from that of one micro-batch.
inline std::vector<Action> inputs_for_all(const Losses& losses, const Action& input) {
  if (!losses.names_losses(input.stage)) {
    return losses.has_backward(input.stage) ? std::vector{input} : std::vector<Action>{};
  }
  std::vector<Action> all;
  for (int offset = 0; offset <= losses.furthest(input.stage); ++offset) {
    if (losses.has_gradient(input.stage, offset)) {
      all.push_back(input.with_loss(offset));
    }
  }
  return all;
}

// Returns the receive that a compute action needs, and the send that follows from it, if the other
// stage is on another rank.
inline std::optional<Action> needed_receive(const Schedule& schedule, const Action& action) {
  const Placement& placement = schedule.placement;
  if (!takes_from_neighbor(schedule, action) ||
      placement.rank_of(neighbor_input(schedule, action)) == placement.rank_of(action)) {
    return std::nullopt;
  }
  return receive_for(schedule, action);
}
inline std::optional<Action> resulting_send(const Schedule& schedule, const Action& action) {
  const Placement& placement = schedule.placement;
  if (!gives_to_neighbor(schedule, action) ||
      placement.rank_of(counterpart(send_for(action))) == placement.rank_of(action)) {
    return std::nullopt;
  }
  return send_for(action);
}

}  // namespace halfback
