// One entry of a rank's list: what is done, for which stage and which micro-batch.
//
// The text form is that of PyTorch's pipelining CSV: stage, letters, micro-batch, as in "2F0".
// SEND_F on stage s names the sender's stage, RECV_F the receiver's. Letters differ between
// papers: here I is the input gradient (p1 of 2BP, B of zero bubble), W the weight gradient (p2),
// B both in one.
//
// Two kinds have no micro-batch in text, as "2U" and "2REDUCE_GRAD". With replicas of the weights
// an action's micro-batch says which replica it belongs to, so REDUCE_GRAD carries the first of its
// replica; reading a file gives it that, since a rank has one copy of a stage.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace halfback {

enum class ActionKind : std::uint8_t {
  Forward,         // F
  Backward,        // B: I then W, in one
  BackwardInput,   // I
  BackwardWeight,  // W
  SendForward,     // SEND_F: activation to the next stage
  RecvForward,     // RECV_F: activation from the previous stage
  SendBackward,    // SEND_B: gradient to the previous stage
  RecvBackward,    // RECV_B: gradient from the next stage
  ReduceGradient,  // REDUCE_GRAD: the sum of a stage's gradients over all replicas begins
  Update,          // U: optimizer update of a stage; its micro-batch is 0
};

inline constexpr int kNumActionKinds = 10;

// Stages, micro-batches and ranks that a text names are below this.
inline constexpr int kMaxIndex = 1 << 20;

struct Action {
  ActionKind kind{};
  int stage = 0;
  int micro_batch = 0;

  bool operator==(const Action&) const = default;
};

// Returns the letters of a kind: "F", "B", "I", "W", "SEND_F", ... "REDUCE_GRAD", "U".
std::string_view letters(ActionKind kind);

// True for the two sends, for the two receives, for all four.
constexpr bool is_send(ActionKind kind) {
  return kind == ActionKind::SendForward || kind == ActionKind::SendBackward;
}
constexpr bool is_receive(ActionKind kind) {
  return kind == ActionKind::RecvForward || kind == ActionKind::RecvBackward;
}
constexpr bool is_message(ActionKind kind) {
  return kind >= ActionKind::SendForward && kind <= ActionKind::RecvBackward;
}

// True for what computes with a micro-batch: F, B, I and W.
constexpr bool is_compute(ActionKind kind) { return kind < ActionKind::SendForward; }

// True for what keeps its rank busy: F, B, I, W and U.
constexpr bool is_work(ActionKind kind) { return is_compute(kind) || kind == ActionKind::Update; }

// True for what adds to the gradients of a stage's parameters: W and B.
constexpr bool adds_weight_gradient(ActionKind kind) {
  return kind == ActionKind::BackwardWeight || kind == ActionKind::Backward;
}

// True for what names a micro-batch in text: all but REDUCE_GRAD and U.
constexpr bool has_micro_batch(ActionKind kind) { return kind < ActionKind::ReduceGradient; }

// Returns for instance "2F0", "2REDUCE_GRAD" or "2U".
std::string to_string(const Action& action);

// Reads one action, or returns nothing when the text is not exactly one with indices below
// kMaxIndex. Micro-batches that the text does not name are 0.
std::optional<Action> try_parse_action(std::string_view text);

// Reads one action. Throws ScheduleError quoting the text and the forms that are known.
Action parse_action(std::string_view text);

}  // namespace halfback
