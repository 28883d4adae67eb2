// One entry of a rank's list: a kind, a stage and a micro-batch.
//
// The text form is that of PyTorch's pipelining CSV: stage, letters, micro-batch, as in "2F0".
// SEND_F names the sender's stage, RECV_F the receiver's. A slice of a micro-batch follows a point:
// "2F0.1" is the second; the first is "2F0". Where the gradients of several losses pass a stage, I,
// SEND_B and RECV_B say whose they carry: "2I0@4" is that of the loss on stage 4.
//
// Two kinds have no micro-batch in text: "2U" and "2REDUCE_GRAD". With replicas of the weights, the
// micro-batch of an action determines its replica, so these two carry the first one of their
// replica. A reader can set it because a rank holds only one replica of a stage.
#pragma once

#include "halfback/schedule/kind.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace halfback {

// Stages, micro-batches and ranks in texts are below this.
inline constexpr int kMaxIndex = 1 << 20;
// So many stages above an action's own a loss that it names can be.
inline constexpr int kMaxLossOffset = 254;

struct Action {
  ActionKind kind{};
  std::uint8_t loss = 0;  // 1 + how many stages above its own the named loss is; 0: none is named
  std::uint16_t slice = 0;
  int stage = 0;
  int micro_batch = 0;

  constexpr Action() = default;
  constexpr Action(ActionKind what, int on, int of, std::uint16_t part = 0)
      : kind(what), slice(part), stage(on), micro_batch(of) {}

  // Returns an action of another kind with the same stage, micro-batch, slice and loss.
  constexpr Action as(ActionKind other) const {
    Action result = *this;
    result.kind = other;
    return result;
  }
  // Returns the same action with a loss so many stages above its own.
  constexpr Action with_loss(int offset) const {
    Action result = *this;
    result.loss = static_cast<std::uint8_t>(1 + offset);
    return result;
  }
  constexpr Action without_loss() const { return {kind, stage, micro_batch, slice}; }

  bool operator==(const Action&) const = default;
};
static_assert(sizeof(Action) == 12, "lists of millions of actions");

// Returns or appends the text, such as "2F0", "2F0.1", "2I0@4", "2REDUCE_GRAD" or "2U".
std::string to_string(const Action& action);
void append_action(std::string& text, const Action& action);

// Reads one action. Returns nothing unless the text is exactly one, with indices below kMaxIndex. A
// micro-batch that the text does not name is 0.
std::optional<Action> try_parse_action(std::string_view text);

// Reads one action. Throws ScheduleError with the text and the known forms.
Action parse_action(std::string_view text);

}  // namespace halfback
