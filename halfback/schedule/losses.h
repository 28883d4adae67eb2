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
#include <limits>
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
  int carried = 0;  // from the stage's output to its input, each by an I
  int taken = 0;    // W makes weight gradients of them

  bool operator==(const StagePasses&) const = default;
};

class Losses {
 public:
  // Backprop, for any number of stages.
  Losses() = default;
  // Throws ScheduleError "where: what" unless the losses ascend by stage, at most one on each, the
  // last stage has one, each reaches a stage from 0 to the one above its own, and one that passes a
  // stage beside others is at most kMaxLossOffset stages above it.
  Losses(int num_stages,
         std::vector<LossReach> losses,
         WeightRule rule = WeightRule::Sum,
         const std::string& where = "schedule");

  bool is_backprop() const { return losses_.empty(); }
  // Returns 0 for backprop, which fits any number of stages.
  int num_stages() const { return static_cast<int>(stages_.size()); }
  const std::vector<LossReach>& reaches() const { return losses_; }
  WeightRule weight_rule() const { return rule_; }

  // Returns how many gradients of a micro-batch a stage has: that of its own loss, which may train
  // the head alone, and those that arrive. Without any, the stage runs only F, and its weights do
  // not change.
  int num_gradients(int stage) const { return is_backprop() ? 1 : at(stage).num_gradients; }
  bool has_backward(int stage) const { return num_gradients(stage) > 0; }
  // True if the stage has several gradients. Then each has an I of its own, the nearest loss's
  // first, which names the loss, as its messages do; there is no B.
  bool names_losses(int stage) const { return num_gradients(stage) > 1; }
  // True if no gradient goes from the stage to the one below: neither is trained by the other's.
  bool starts_block(int stage) const { return is_backprop() ? stage == 0 : at(stage).starts_block; }
  StagePasses passes(int stage) const {
    return is_backprop() ? StagePasses{1, 1} : at(stage).passes;
  }

  // The rest is for losses inside the model. A gradient is named by how many stages its loss is
  // above the stage.

  // Returns the furthest gradient of a stage that has some.
  int furthest(int stage) const { return at(stage).furthest; }
  bool has_gradient(int stage, int offset) const {
    const int lowest = lowest_of(stage + offset);
    return lowest <= stage || (offset == 0 && lowest != kNowhere);
  }
  // Returns the gradient that passes the stage before this one, or nothing.
  std::optional<int> before(int stage, int offset) const;
  // True if the gradient goes through the stage's layers, or on to the stage below.
  bool is_carried(int stage, int offset) const { return lowest_of(stage + offset) <= stage; }
  bool continues(int stage, int offset) const { return lowest_of(stage + offset) < stage; }
  // Returns how many stages below the gradient passes.
  int num_below(int stage, int offset) const {
    return continues(stage, offset) ? stage - lowest_of(stage + offset) : 0;
  }

  bool operator==(const Losses&) const = default;

 private:
  static constexpr int kNowhere = std::numeric_limits<int>::max();
  struct StageFlow {
    int lowest = kNowhere;  // of the stage's own loss
    int num_gradients = 0;
    int furthest = 0;
    bool starts_block = true;
    StagePasses passes;

    bool operator==(const StageFlow&) const = default;
  };
  const StageFlow& at(int stage) const { return stages_[static_cast<std::size_t>(stage)]; }
  int lowest_of(int stage) const { return stage < num_stages() ? at(stage).lowest : kNowhere; }
  void find_furthest();

  std::vector<LossReach> losses_;
  WeightRule rule_ = WeightRule::Sum;
  std::vector<StageFlow> stages_;  // derived from the losses
};

// Returns what Losses would throw for this list, or "".
std::string fault_of_losses(int num_stages, const std::vector<LossReach>& losses);

// Returns the stages with a loss, ascending. The last stage always has one.
std::vector<int> stages_with_loss(const Losses& losses, int num_stages);

// A gradient of each micro-batch at a stage.
struct StageGradient {
  std::uint8_t loss = 0;   // as an Action names it
  bool is_own = false;     // of the stage's own loss
  bool is_carried = true;  // through the stage's layers; else it trains the head alone
  bool continues = true;   // to the stage below
  bool is_taken = true;    // W makes weight gradients of it
};

// All of them, in ascending order of their losses.
struct StageGradients {
  bool is_last = false;  // no stage takes the activations
  std::vector<StageGradient> all = {};
  WeightRule rule = WeightRule::Sum;
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
