#include "halfback/schedule/losses.h"

#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/schedule/action.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

namespace halfback {

namespace {

std::string fault_of(int num_stages, const std::vector<LossReach>& losses) {
  int previous = -1;
  for (const LossReach& loss : losses) {
    if (loss.stage < 0 || loss.stage >= num_stages) {
      return fmt::format("a loss on stage {}; the stages are 0 to {}", loss.stage, num_stages - 1);
    }
    if (loss.stage <= previous) {
      return fmt::format(
          "a loss on stage {} after one on stage {}; losses ascend, at most one per stage",
          loss.stage, previous);
    }
    if (loss.lowest < 0 || loss.lowest > loss.stage + 1) {
      return fmt::format(
          "the loss on stage {} reaches stage {}; a gradient goes down, to {} at "
          "the highest, or nowhere",
          loss.stage, loss.lowest, loss.stage);
    }
    previous = loss.stage;
  }
  return previous == num_stages - 1
             ? std::string{}
             : fmt::format("no loss on stage {}; the last stage has one", num_stages - 1);
}

std::optional<int> parse_stage(std::string_view text) {
  const std::optional<std::int64_t> stage = parse_integer(text);
  return stage && *stage >= 0 && *stage < kMaxIndex ? std::optional(static_cast<int>(*stage))
                                                    : std::nullopt;
}

// Reads "2:0" or "2:none".
std::optional<LossReach> parse_loss(std::string_view text) {
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::optional<int> stage = parse_stage(text.substr(0, colon));
  const std::string_view reach = text.substr(std::min(colon + 1, text.size()));
  if (!stage) {
    return std::nullopt;
  }
  if (reach == "none") {
    return LossReach{*stage, *stage + 1};
  }
  const std::optional<int> lowest = parse_stage(reach);
  return lowest && *lowest <= *stage ? std::optional(LossReach{*stage, *lowest}) : std::nullopt;
}

std::string text_of(std::span<const LossReach> losses) {
  std::string text;
  for (const LossReach& loss : losses) {
    text += text.empty() ? "" : ",";
    text += loss.lowest > loss.stage ? fmt::format("{}:none", loss.stage)
                                     : fmt::format("{}:{}", loss.stage, loss.lowest);
  }
  return text;
}

}  // namespace

std::string fault_of_losses(int num_stages, const std::vector<LossReach>& losses) {
  return fault_of(num_stages, losses);
}

Losses::Losses(int num_stages,
               std::vector<LossReach> losses,
               WeightRule rule,
               const std::string& where)
    : losses_(std::move(losses)), rule_(rule) {
  const std::string fault = fault_of(num_stages, losses_);
  if (!fault.empty()) {
    throw ScheduleError(fmt::format("{}: {}", where, fault));
  }
  stages_.resize(static_cast<std::size_t>(num_stages));
  std::vector<int> arriving(stages_.size(), 0);  // from the stage above; first as differences
  for (const LossReach& loss : losses_) {
    const auto stage = static_cast<std::size_t>(loss.stage);
    const auto lowest = static_cast<std::size_t>(loss.lowest);
    stages_[stage].lowest = loss.lowest;
    stages_[stage].num_gradients = 1;
    stages_[stage].passes.carried = lowest <= stage ? 1 : 0;
    if (lowest < stage) {
      ++arriving[lowest];
      --arriving[stage];
    }
  }
  std::partial_sum(arriving.begin(), arriving.end(), arriving.begin());
  for (std::size_t stage = 0; stage < stages_.size(); ++stage) {
    StageFlow& flow = stages_[stage];
    flow.num_gradients += arriving[stage];
    flow.starts_block = stage == 0 || arriving[stage - 1] == 0;
    flow.passes.carried += arriving[stage];
    flow.passes.taken =
        rule_ == WeightRule::Furthest ? std::min(flow.passes.carried, 1) : flow.passes.carried;
  }
  find_furthest();
  for (int stage = 0; stage < num_stages; ++stage) {
    if (names_losses(stage) && furthest(stage) > kMaxLossOffset) {
      throw ScheduleError(fmt::format(
          "{}: the gradient of the loss on stage {} passes stage {} beside others; such a loss is "
          "at most {} stages above",
          where, stage + furthest(stage), stage, kMaxLossOffset));
    }
  }
}

// From the top, so that the furthest of a stage is the first one that reaches it.
void Losses::find_furthest() {
  int next = num_stages() - 1;  // no stage from here on has it yet
  for (auto loss = losses_.rbegin(); loss != losses_.rend(); ++loss) {
    for (next = std::min(next, loss->stage); next >= std::min(loss->lowest, loss->stage); --next) {
      stages_[static_cast<std::size_t>(next)].furthest = loss->stage - next;
    }
  }
}

std::optional<int> Losses::before(int stage, int offset) const {
  while (--offset >= 0) {
    if (has_gradient(stage, offset)) {
      return offset;
    }
  }
  return std::nullopt;
}

std::vector<int> stages_with_loss(const Losses& losses, int num_stages) {
  if (losses.is_backprop()) {
    return {num_stages - 1};
  }
  std::vector<int> stages;
  for (const LossReach& loss : losses.reaches()) {
    stages.push_back(loss.stage);
  }
  return stages;
}

StageGradients gradients_of(const Losses& losses, int num_stages, int stage) {
  StageGradients gradients{.is_last = stage + 1 == num_stages, .rule = losses.weight_rule()};
  if (losses.is_backprop()) {
    gradients.all.push_back({.is_own = gradients.is_last, .continues = stage > 0});
    return gradients;
  }
  const int furthest = losses.has_backward(stage) ? losses.furthest(stage) : -1;
  for (int offset = 0; offset <= furthest; ++offset) {
    if (losses.has_gradient(stage, offset)) {
      const bool is_carried = losses.is_carried(stage, offset);
      gradients.all.push_back(
          {.loss = static_cast<std::uint8_t>(losses.names_losses(stage) ? 1 + offset : 0),
           .is_own = offset == 0,
           .is_carried = is_carried,
           .continues = losses.continues(stage, offset),
           .is_taken =
               is_carried && (gradients.rule != WeightRule::Furthest || offset == furthest)});
    }
  }
  return gradients;
}

std::string losses_text(const Losses& losses) { return text_of(losses.reaches()); }

std::string brief_losses(const Losses& losses) {
  constexpr std::size_t kMost = 16;
  const std::vector<LossReach>& all = losses.reaches();
  const std::size_t num_shown = std::min(all.size(), kMost);
  return text_of({all.data(), num_shown}) +
         (num_shown < all.size() ? fmt::format(" and {} more", all.size() - num_shown) : "");
}

std::optional<std::vector<LossReach>> parse_losses(std::string_view text) {
  std::vector<LossReach> losses;
  for (const std::string_view part : split(text, ',')) {
    const std::optional<LossReach> loss = parse_loss(part);
    if (!loss || losses.size() == kMaxIndex) {
      return std::nullopt;
    }
    losses.push_back(*loss);
  }
  return losses;
}

std::string to_string(WeightRule rule) {
  switch (rule) {
    case WeightRule::Sum:
      return "sum";
    case WeightRule::Mean:
      return "mean";
    case WeightRule::Furthest:
      break;
  }
  return "furthest";
}

std::vector<std::string> weight_rule_names() { return {"sum", "mean", "furthest"}; }

std::optional<WeightRule> parse_weight_rule(std::string_view name) {
  for (const WeightRule rule : {WeightRule::Sum, WeightRule::Mean, WeightRule::Furthest}) {
    if (to_string(rule) == name) {
      return rule;
    }
  }
  return std::nullopt;
}

}  // namespace halfback
