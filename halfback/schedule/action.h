// One entry of a rank's list: what is done, for which stage and which micro-batch.
//
// The text form is that of PyTorch's pipelining CSV: stage, letters, micro-batch, as in "2F0".
// SEND_F on stage s names the sender's stage, RECV_F the receiver's. A slice of a micro-batch
// stands behind a point: "2F0.1" is its second; the first is "2F0".
//
// Two kinds have no micro-batch in text, as "2U" and "2REDUCE_GRAD". With replicas of the weights
// an action's micro-batch says which replica it belongs to, so REDUCE_GRAD carries the first of its
// replica; reading a file gives it that, since a rank has one copy of a stage.
#pragma once

#include "halfback/schedule/kind.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace halfback {

// Stages, micro-batches and ranks that a text names are below this.
inline constexpr int kMaxIndex = 1 << 20;

struct Action {
  ActionKind kind{};
  std::uint16_t slice = 0;
  int stage = 0;
  int micro_batch = 0;

  constexpr Action() = default;
  constexpr Action(ActionKind what, int on, int of, std::uint16_t part = 0)
      : kind(what), slice(part), stage(on), micro_batch(of) {}

  // Returns another kind of action of the same stage, micro-batch and slice.
  constexpr Action as(ActionKind other) const { return {other, stage, micro_batch, slice}; }

  bool operator==(const Action&) const = default;
};
static_assert(sizeof(Action) == 12, "lists of millions of actions");

// Returns for instance "2F0", "2F0.1", "2REDUCE_GRAD" or "2U"; or appends it.
std::string to_string(const Action& action);
void append_action(std::string& text, const Action& action);

// Reads one action, or returns nothing when the text is not exactly one with indices below
// kMaxIndex. Micro-batches that the text does not name are 0.
std::optional<Action> try_parse_action(std::string_view text);

// Reads one action. Throws ScheduleError quoting the text and the forms that are known.
Action parse_action(std::string_view text);

}  // namespace halfback
