#include "halfback/simulate/memory_model.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"

#include <fmt/format.h>

#include <algorithm>

namespace halfback {

namespace {

class Accountant {
 public:
  Accountant(const Schedule& schedule, const MemoryModel& model)
      : placement_(schedule.placement), model_(model), with_messages_(has_messages(schedule)) {}

  std::vector<std::int64_t> curve(const std::vector<Action>& list) const {
    std::vector<std::int64_t> curve;
    curve.reserve(list.size());
    std::int64_t held = 0;
    for (const Action& action : list) {
      held += kept(action) + arrived(action) + handed_over(action) - taken(action) - sent(action);
      curve.push_back(held);
    }
    return curve;
  }

 private:
  const StageBytes& bytes(int stage) const {
    return model_.stages[static_cast<std::size_t>(stage)];
  }

  // What an action adds to, or frees from, what its stage keeps.
  std::int64_t kept(const Action& action) const {
    const StageBytes& stage = bytes(action.stage);
    switch (action.kind) {
      case ActionKind::Forward:
        return stage.until_input + stage.until_weight;
      case ActionKind::Backward:
        return -stage.until_input - stage.until_weight;
      case ActionKind::BackwardInput:
        return stage.gradients - stage.until_input;
      case ActionKind::BackwardWeight:
        return -stage.until_weight - stage.gradients;
      default:
        return 0;
    }
  }

  std::int64_t arrived(const Action& action) const {
    if (!is_receive(action.kind)) {
      return 0;
    }
    const StageBytes& stage = bytes(action.stage);
    return action.kind == ActionKind::RecvForward ? stage.activation_message
                                                  : stage.gradient_message;
  }

  std::int64_t message(const Action& consumer) const {
    const StageBytes& stage = bytes(consumer.stage);
    return consumer.kind == ActionKind::Forward ? stage.activation_message : stage.gradient_message;
  }

  // The bytes of what a stage makes for its neighbor; 0 at the ends of the model.
  std::int64_t outgoing(const Action& action, bool is_forward) const {
    const int neighbor = action.stage + (is_forward ? 1 : -1);
    if (neighbor < 0 || neighbor >= placement_.num_stages()) {
      return 0;
    }
    return is_forward ? bytes(neighbor).activation_message : bytes(neighbor).gradient_message;
  }

  // What waits for another stage of the same rank, or to be sent.
  std::int64_t handed_over(const Action& action) const {
    if (action.kind == ActionKind::BackwardWeight || !is_compute(action.kind)) {
      return 0;
    }
    const bool is_forward = action.kind == ActionKind::Forward;
    const int neighbor = action.stage + (is_forward ? 1 : -1);
    const bool stays =
        neighbor >= 0 && neighbor < placement_.num_stages() && is_local(neighbor, action);
    return stays || with_messages_ ? outgoing(action, is_forward) : 0;
  }

  std::int64_t sent(const Action& action) const {
    return is_send(action.kind) ? outgoing(action, action.kind == ActionKind::SendForward) : 0;
  }

  std::int64_t taken(const Action& action) const {
    const auto source = taken_from(placement_, action);
    const bool is_counted = source && (with_messages_ || is_local(source->stage, action));
    return is_counted ? message(action) : 0;
  }

  // Of a neighboring stage: true when the action's own rank holds it.
  bool is_local(int stage, const Action& action) const {
    return placement_.rank_of({action.kind, stage, action.micro_batch}) ==
           placement_.rank_of(action);
  }

  const Placement& placement_;
  const MemoryModel& model_;
  bool with_messages_;
};

}  // namespace

MemoryPrediction predict_memory(const Schedule& schedule, const MemoryModel& model) {
  if (model.stages.size() != static_cast<std::size_t>(schedule.num_stages())) {
    throw ConfigError(fmt::format("memory: bytes of {} stages for a schedule of {}; give each",
                                  model.stages.size(), schedule.num_stages()));
  }
  const Accountant accountant(schedule, model);
  MemoryPrediction prediction;
  for (const auto& list : schedule.ranks) {
    std::vector<std::int64_t> curve = accountant.curve(list);
    const auto largest = std::max_element(curve.begin(), curve.end());
    prediction.peak.push_back(largest == curve.end() ? 0 : std::max<std::int64_t>(*largest, 0));
    prediction.curve.push_back(std::move(curve));
  }
  return prediction;
}

}  // namespace halfback
