// The losses that train a model, and how far down the gradient of each goes. Backprop has one loss,
// on the last stage, and its gradient reaches stage 0. With local updates, more stages have a loss
// of their own, and no gradient crosses some boundaries. This table alone determines what each F,
// B, I, W, SEND_B and RECV_B waits for.
//
// Sources: greedy, chunked and overlapping losses from Laskin et al., "Parallel Training of Deep
// Networks with Local Updates", arXiv 2012.03837; interlocking ones from Gomez, Key et al.,
// "Interlocking Backpropagation", JMLR 23(171), 2022, arXiv 2010.04116.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// A loss on the output of a stage, and the lowest stage that its gradient passes. With `lowest` =
// `stage` + 1, the gradient passes no stage, and trains only the loss's own head.
struct LossReach {
  int stage = 0;
  int lowest = 0;

  bool operator==(const LossReach&) const = default;
};

// Which gradient the weights of a stage take if the gradients of several losses pass it.
enum class WeightRule : std::uint8_t {
  Sum,
  Mean,
  Furthest,  // only that of the highest loss; the others just pass
};

// How many gradients of one micro-batch go through the layers of a stage.
struct StagePasses {
  int at_input = 0;   // I carries them from the stage's output to its input
  int at_weight = 0;  // W does, because they arrive too late for I
  int taken = 0;      // W makes weight gradients of them

  bool operator==(const StagePasses&) const = default;
};

class Losses {
 public:
  // Backprop, for any number of stages.
  Losses() = default;
  // Throws ScheduleError "where: what" unless the losses ascend by stage, at most one on each, the
  // last stage has one, and each reaches a stage from 0 to the one above its own.
  Losses(int num_stages,
         std::vector<LossReach> losses,
         WeightRule rule = WeightRule::Sum,
         const std::string& where = "schedule");

  bool is_backprop() const { return losses_.empty(); }
  // Returns 0 for backprop, which fits any number of stages.
  int num_stages() const { return static_cast<int>(stages_.size()); }
  const std::vector<LossReach>& reaches() const { return losses_; }
  WeightRule weight_rule() const { return rule_; }

  // Returns how many gradients go from a stage to the one below, in one message.
  int num_crossing(int stage) const {
    return is_backprop() ? static_cast<int>(stage > 0) : at(stage).num_crossing;
  }
  // False if the stage has neither a loss nor an incoming gradient. Then it runs only F, and its
  // weights do not change.
  bool has_backward(int stage) const { return is_backprop() || at(stage).has_backward; }
  // True if W takes the gradient from the stage above and I does not: that gradient ends here,
  // while that of the stage's own loss continues down and need not wait for it.
  bool weight_takes(int stage) const { return !is_backprop() && at(stage).weight_takes; }
  StagePasses passes(int stage) const {
    return is_backprop() ? StagePasses{1, 0, 1} : at(stage).passes;
  }

  bool operator==(const Losses&) const = default;

 private:
  struct StageFlow {
    int num_crossing = 0;
    bool has_backward = false;
    bool weight_takes = false;
    StagePasses passes;

    bool operator==(const StageFlow&) const = default;
  };
  const StageFlow& at(int stage) const { return stages_[static_cast<std::size_t>(stage)]; }

  std::vector<LossReach> losses_;
  WeightRule rule_ = WeightRule::Sum;
  std::vector<StageFlow> stages_;  // derived from the losses
};

// Returns what Losses would throw for this list, or "".
std::string fault_of_losses(int num_stages, const std::vector<LossReach>& losses);

// Returns the stages whose losses have a gradient that passes this stage, in ascending order: the
// last is the furthest. Backprop over `num_stages` has only the last stage. Linear in the losses.
std::vector<int> losses_through(const Losses& losses, int num_stages, int stage);

// Returns the stages whose losses have a gradient that goes from a stage to the one below: the
// tensors of that message, in this order. Linear in the losses.
std::vector<int> losses_crossing(const Losses& losses, int num_stages, int stage);

// Returns the stages with a loss, ascending. The last stage always has one.
std::vector<int> stages_with_loss(const Losses& losses, int num_stages);

// The gradients of one micro-batch at a stage, in ascending order of their losses: first that of
// the stage's own loss, if it passes the stage's layers, then those that arrive from above.
struct StageGradients {
  bool is_trained = true;            // false: F alone
  bool is_last = false;              // no stage takes the activations
  bool has_own = false;              // the first gradient is that of the stage's own loss
  int num_arriving = 0;              // the number of the others
  bool weight_takes = false;         // W carries those that arrive, since they all end here
  std::vector<bool> continues = {};  // by gradient: it is passed on to the stage below
  std::size_t first_taken = 0;       // W makes weight gradients of this one and all after it
  WeightRule rule = WeightRule::Sum;

  std::size_t count() const { return continues.size(); }
};
StageGradients gradients_of(const Losses& losses, int num_stages, int stage);

// Returns "0:0,1:0,2:none": for each loss its stage and the lowest that its gradient passes.
std::string losses_text(const Losses& losses);

// Returns the same for messages: the first losses, and how many more there are.
std::string brief_losses(const Losses& losses);

// Reads losses_text(); nothing for another text. The form is described in errors.
std::optional<std::vector<LossReach>> parse_losses(std::string_view text);
inline constexpr std::string_view kLossesForm =
    "the stage of each loss and the lowest stage that its gradient reaches, or none, as in "
    "0:none,1:0,2:1";

// Returns "sum", "mean" or "furthest".
std::string to_string(WeightRule rule);
std::vector<std::string> weight_rule_names();
// Returns nothing for another name.
std::optional<WeightRule> parse_weight_rule(std::string_view name);

}  // namespace halfback
