// The kinds of actions, as a table. A row holds everything about a kind. Elsewhere, only code that
// runs or prices actions distinguishes kinds.
//
// Letters are those of PyTorch's pipelining CSV. They differ between papers: here I is the input
// gradient (p1 of 2BP, B of zero bubble), W the weight gradient (p2), B both in one action.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace halfback {

enum class ActionKind : std::uint8_t {
  Forward,         // F
  Backward,        // B: I then W, in one action
  BackwardInput,   // I
  BackwardWeight,  // W
  SendForward,     // SEND_F: activation to the next stage
  RecvForward,     // RECV_F: activation from the previous stage
  SendBackward,    // SEND_B: gradient to the previous stage
  RecvBackward,    // RECV_B: gradient from the next stage
  ReduceGradient,  // REDUCE_GRAD: the sum of a stage's gradients over all replicas begins
  Update,          // U: optimizer update of a stage
};

inline constexpr int kNumActionKinds = 10;

enum class KindClass : std::uint8_t {
  Compute,  // with a micro-batch
  Send,
  Receive,
  Reduce,
  Update,
};

// For how many micro-batches a stage keeps what, or how an action changes these counts.
struct Kept {
  int until_input = 0;   // from F until I or B, or until W if it carries a gradient
  int until_weight = 0;  // from F until W or B: what W needs of F
  int gradients = 0;     // from I until W: the gradients that a split backward keeps

  bool operator==(const Kept&) const = default;
  constexpr Kept& operator+=(const Kept& other) {
    until_input += other.until_input;
    until_weight += other.until_weight;
    gradients += other.gradients;
    return *this;
  }
};

struct KindTraits {
  ActionKind kind;
  std::string_view letters;
  char cell;  // in drawn grids
  KindClass kind_class;
  bool names_micro_batch;  // in text
  bool names_loss;         // in text, where the gradients of several losses pass the stage
  bool is_forward;         // concerns activations, not gradients
  int other_stage;         // offset of the stage that its tensor comes from or goes to
  ActionKind other_end;    // of a message; otherwise the kind itself
  ActionKind own_input;    // kind whose result of the same stage it takes; if none, the kind itself
  Kept kept;
};

inline constexpr std::array<KindTraits, kNumActionKinds> kKinds = [] {
  using enum ActionKind;
  using Class = KindClass;
  // clang-format off
  return std::array<KindTraits, kNumActionKinds>{{
      // kind, letters, cell, class, names micro-batch, names loss, is forward, other stage, other end, own input, kept
      {Forward,        "F",           'F', Class::Compute, true,  false, true,  -1, Forward,        Forward,        {1, 1, 0}},
      {Backward,       "B",           'B', Class::Compute, true,  false, false,  1, Backward,       Forward,        {-1, -1, 0}},
      {BackwardInput,  "I",           'b', Class::Compute, true,  true,  false,  1, BackwardInput,  Forward,        {-1, 0, 1}},
      {BackwardWeight, "W",           'w', Class::Compute, true,  false, false,  0, BackwardWeight, BackwardInput,  {0, -1, -1}},
      {SendForward,    "SEND_F",      ' ', Class::Send,    true,  false, true,   1, RecvForward,    Forward,        {}},
      {RecvForward,    "RECV_F",      ' ', Class::Receive, true,  false, true,  -1, SendForward,    RecvForward,    {}},
      {SendBackward,   "SEND_B",      ' ', Class::Send,    true,  true,  false, -1, RecvBackward,   BackwardInput,  {}},
      {RecvBackward,   "RECV_B",      ' ', Class::Receive, true,  true,  false,  1, SendBackward,   RecvBackward,   {}},
      {ReduceGradient, "REDUCE_GRAD", 'r', Class::Reduce,  false, false, false,  0, ReduceGradient, ReduceGradient, {}},
      {Update,         "U",           'u', Class::Update,  false, false, false,  0, Update,         Update,         {}},
  }};
  // clang-format on
}();

constexpr const KindTraits& traits_of(ActionKind kind) {
  return kKinds[static_cast<std::size_t>(kind)];
}

static_assert(std::ranges::all_of(kKinds, [](const KindTraits& row) {
  return &traits_of(row.kind) == &row && traits_of(row.other_end).other_end == row.kind;
}));

constexpr std::string_view letters(ActionKind kind) { return traits_of(kind).letters; }

// A set of kinds, for the innermost loops over millions of actions.
class KindSet {
 public:
  template <typename Predicate>
  constexpr explicit KindSet(Predicate predicate) {
    for (const KindTraits& row : kKinds) {
      bits_ |= predicate(row) ? bit(row.kind) : 0U;
    }
  }
  constexpr bool contains(ActionKind kind) const { return (bits_ & bit(kind)) != 0; }

 private:
  static constexpr unsigned bit(ActionKind kind) { return 1U << static_cast<unsigned>(kind); }
  unsigned bits_ = 0;
};

inline constexpr KindSet kComputes([](const KindTraits& row) {
  return row.kind_class == KindClass::Compute;
});
inline constexpr KindSet kSends([](const KindTraits& row) {
  return row.kind_class == KindClass::Send;
});
inline constexpr KindSet kReceives([](const KindTraits& row) {
  return row.kind_class == KindClass::Receive;
});
inline constexpr KindSet kMessages([](const KindTraits& row) {
  return row.kind_class == KindClass::Send || row.kind_class == KindClass::Receive;
});
inline constexpr KindSet kWork([](const KindTraits& row) {
  return row.kind_class == KindClass::Compute || row.kind_class == KindClass::Update;
});
inline constexpr KindSet kForwards([](const KindTraits& row) { return row.is_forward; });
inline constexpr KindSet kOfMicroBatch([](const KindTraits& row) { return row.names_micro_batch; });
inline constexpr KindSet kAddsGradient([](const KindTraits& row) {
  return row.kept.until_weight < 0;
});

constexpr bool is_send(ActionKind kind) { return kSends.contains(kind); }
constexpr bool is_receive(ActionKind kind) { return kReceives.contains(kind); }
constexpr bool is_message(ActionKind kind) { return kMessages.contains(kind); }

// True for actions that carry or make activations: F, SEND_F and RECV_F.
constexpr bool is_forward(ActionKind kind) { return kForwards.contains(kind); }

// True for actions that compute with a micro-batch: F, B, I and W.
constexpr bool is_compute(ActionKind kind) { return kComputes.contains(kind); }

// True for actions that keep their rank busy: F, B, I, W and U.
constexpr bool is_work(ActionKind kind) { return kWork.contains(kind); }

// True for actions that add to the gradients of a stage's parameters: W and B.
constexpr bool adds_weight_gradient(ActionKind kind) { return kAddsGradient.contains(kind); }

// True for actions that name a micro-batch in text: all but REDUCE_GRAD and U.
constexpr bool has_micro_batch(ActionKind kind) { return kOfMicroBatch.contains(kind); }

}  // namespace halfback
