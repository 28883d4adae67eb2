#include "halfback/schedule/dataflow.h"

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

bool is_backward(ActionKind kind) {
  return kind == ActionKind::Backward || kind == ActionKind::BackwardInput;
}

bool goes_up(ActionKind kind) {
  return is_backward(kind) || kind == ActionKind::RecvBackward || kind == ActionKind::SendForward;
}

bool goes_down(ActionKind kind) {
  return kind == ActionKind::Forward || kind == ActionKind::RecvForward ||
         kind == ActionKind::SendBackward;
}

}  // namespace

std::optional<int> other_stage(const Placement& placement, const Action& action) {
  if (goes_up(action.kind) && action.stage + 1 < placement.num_stages()) {
    return action.stage + 1;
  }
  if (goes_down(action.kind) && action.stage > 0) {
    return action.stage - 1;
  }
  return std::nullopt;
}

std::optional<Action> taken_from(const Placement& placement, const Action& action) {
  const std::optional<int> stage = other_stage(placement, action);
  if (!stage || is_message(action.kind)) {
    return std::nullopt;
  }
  const ActionKind kind = is_backward(action.kind) ? ActionKind::BackwardInput : action.kind;
  return Action{kind, *stage, action.micro_batch};
}

std::optional<Action> needed_receive(const Placement& placement, const Action& action) {
  const std::optional<Action> source = taken_from(placement, action);
  if (!source || placement.rank_of(*source) == placement.rank_of(action)) {
    return std::nullopt;
  }
  const ActionKind kind =
      is_backward(action.kind) ? ActionKind::RecvBackward : ActionKind::RecvForward;
  return Action{kind, action.stage, action.micro_batch};
}

std::optional<Action> resulting_send(const Placement& placement, const Action& action) {
  if (action.kind != ActionKind::Forward && !is_backward(action.kind)) {
    return std::nullopt;
  }
  const ActionKind kind =
      is_backward(action.kind) ? ActionKind::SendBackward : ActionKind::SendForward;
  const Action send{kind, action.stage, action.micro_batch};
  const std::optional<int> target = other_stage(placement, send);
  if (!target || placement.rank_of(counterpart(send)) == placement.rank_of(action)) {
    return std::nullopt;
  }
  return send;
}

Action counterpart(const Action& message) {
  switch (message.kind) {
    case ActionKind::SendForward:
      return {ActionKind::RecvForward, message.stage + 1, message.micro_batch};
    case ActionKind::RecvForward:
      return {ActionKind::SendForward, message.stage - 1, message.micro_batch};
    case ActionKind::SendBackward:
      return {ActionKind::RecvBackward, message.stage - 1, message.micro_batch};
    default:
      return {ActionKind::SendBackward, message.stage + 1, message.micro_batch};
  }
}

Channels::Channels(const Placement& placement)
    : placement_(&placement),
      num_boundaries_(static_cast<std::size_t>(std::max(placement.num_stages(), 1)) - 1) {
  for (const std::vector<int>& ranks : placement.replicas) {
    for (std::size_t stage = 0; stage + 1 < ranks.size(); ++stage) {
      if (ranks[stage] != ranks[stage + 1]) {
        pairs_.emplace_back(ranks[stage], ranks[stage + 1]);
        pairs_.emplace_back(ranks[stage + 1], ranks[stage]);
      }
    }
  }
  std::sort(pairs_.begin(), pairs_.end());
  pairs_.erase(std::unique(pairs_.begin(), pairs_.end()), pairs_.end());
  const auto number = [&](int from, int to) {
    const auto place = std::lower_bound(pairs_.begin(), pairs_.end(), std::pair(from, to));
    return static_cast<int>(place - pairs_.begin());
  };
  for (const auto& [from, to] : pairs_) {
    reverse_.push_back(number(to, from));
  }
  for (const std::vector<int>& ranks : placement.replicas) {
    for (std::size_t stage = 0; stage + 1 < ranks.size(); ++stage) {
      forward_.push_back(number(ranks[stage], ranks[stage + 1]));
      backward_.push_back(number(ranks[stage + 1], ranks[stage]));
    }
  }
}

int Channels::of(const Action& message) const {
  const std::size_t upper = boundary(message.stage, message.micro_batch);
  switch (message.kind) {
    case ActionKind::SendForward:
      return forward_[upper];
    case ActionKind::RecvForward:
      return forward_[upper - 1];
    case ActionKind::SendBackward:
      return backward_[upper - 1];
    default:
      return backward_[upper];
  }
}

}  // namespace halfback
