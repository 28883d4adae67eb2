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
      : schedule_(schedule),
        placement_(schedule.placement),
        model_(model),
        with_messages_(has_messages(schedule)) {}

  // Calls visit(parts) after each action of a list.
  template <typename Visit>
  void walk(const std::vector<Action>& list, Visit visit) const {
    MemoryParts held;
    for (const Action& action : list) {
      keep(action, held);
      held.messages += arrived(action) + handed_over(action) - taken(action) - sent(action);
      visit(held);
    }
  }

 private:
  const StageBytes& bytes(int stage) const { return model_.stage(stage); }

  // What an action adds to, or frees from, what its stage keeps.
  void keep(const Action& action, MemoryParts& held) const {
    if (!schedule_.cuts.has_backward(action.stage)) {
      return;
    }
    const StageBytes& stage = bytes(action.stage);
    const bool is_late = schedule_.cuts.weight_takes(action.stage);
    switch (action.kind) {
      case ActionKind::Forward:
        held.until_input += stage.until_input;
        held.until_weight += stage.until_weight;
        break;
      case ActionKind::Backward:
        held.until_input -= stage.until_input;
        held.until_weight -= stage.until_weight;
        break;
      case ActionKind::BackwardInput:
        held.until_input -= is_late ? 0 : stage.until_input;
        held.gradients += stage.gradients;
        break;
      case ActionKind::BackwardWeight:
        held.until_input -= is_late ? stage.until_input : 0;
        held.until_weight -= stage.until_weight;
        held.gradients -= stage.gradients;
        break;
      default:
        break;
    }
  }

  std::int64_t arrived(const Action& action) const {
    if (!is_receive(action.kind)) {
      return 0;
    }
    const StageBytes& stage = bytes(action.stage);
    return action.kind == ActionKind::RecvForward ? stage.activation_message
                                                  : gradients_to(action.stage);
  }

  std::int64_t message(const Action& consumer) const {
    return consumer.kind == ActionKind::Forward ? bytes(consumer.stage).activation_message
                                                : gradients_to(consumer.stage);
  }

  // The bytes of all gradients that a stage gets from the one above.
  std::int64_t gradients_to(int stage) const {
    return bytes(stage).gradient_message * schedule_.cuts.num_crossing(stage + 1);
  }

  // The bytes of what a stage makes for its neighbor; 0 at the ends of the model.
  std::int64_t outgoing(const Action& action, bool is_forward) const {
    const int neighbor = action.stage + (is_forward ? 1 : -1);
    if (neighbor < 0 || neighbor >= placement_.num_stages()) {
      return 0;
    }
    return is_forward ? bytes(neighbor).activation_message : gradients_to(neighbor);
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
    const auto source = taken_from(schedule_, action);
    const bool is_counted = source && (with_messages_ || is_local(source->stage, action));
    return is_counted ? message(action) : 0;
  }

  // Of a neighboring stage: true when the action's own rank holds it.
  bool is_local(int stage, const Action& action) const {
    return placement_.rank_of({action.kind, stage, action.micro_batch}) ==
           placement_.rank_of(action);
  }

  const Schedule& schedule_;
  const Placement& placement_;
  const MemoryModel& model_;
  bool with_messages_;
};

void check_stages(const char* what, std::size_t count, const Schedule& schedule) {
  if (count != 1 && count != static_cast<std::size_t>(schedule.num_stages())) {
    throw ConfigError(
        fmt::format("memory: {} of {} stages for a schedule of {}; give one for all or one a stage",
                    what, count, schedule.num_stages()));
  }
}

}  // namespace

const StageBytes& MemoryModel::stage(int index) const {
  return stages.size() == 1 ? stages.front() : stages[static_cast<std::size_t>(index)];
}

StateBytes MemoryModel::state(int index) const {
  if (states.empty()) {
    return {};
  }
  return states.size() == 1 ? states.front() : states[static_cast<std::size_t>(index)];
}

MemoryPrediction predict_memory(const Schedule& schedule, const MemoryModel& model) {
  check_stages("bytes", model.stages.size(), schedule);
  const Accountant accountant(schedule, model);
  MemoryPrediction prediction;
  for (const auto& list : schedule.ranks) {
    std::vector<std::int64_t> curve;
    curve.reserve(list.size());
    MemoryParts most;
    accountant.walk(list, [&](const MemoryParts& held) {
      curve.push_back(held.total());
      if (held.total() > most.total()) {
        most = held;
      }
    });
    prediction.peak.push_back(most.total());
    prediction.curve.push_back(std::move(curve));
    prediction.at_peak.push_back(most);
  }
  return prediction;
}

std::vector<std::vector<MemoryParts>> memory_parts(const Schedule& schedule,
                                                   const MemoryModel& model) {
  check_stages("bytes", model.stages.size(), schedule);
  const Accountant accountant(schedule, model);
  std::vector<std::vector<MemoryParts>> parts(schedule.ranks.size());
  for (std::size_t rank = 0; rank < parts.size(); ++rank) {
    parts[rank].reserve(schedule.ranks[rank].size());
    accountant.walk(schedule.ranks[rank],
                    [&](const MemoryParts& held) { parts[rank].push_back(held); });
  }
  return parts;
}

std::vector<StateBytes> constant_memory(const Schedule& schedule, const MemoryModel& model) {
  if (!model.states.empty()) {
    check_stages("parameters", model.states.size(), schedule);
  }
  std::vector<StateBytes> held(schedule.ranks.size());
  for (const std::vector<int>& rank_of_stage : schedule.placement.replicas) {
    for (std::size_t stage = 0; stage < rank_of_stage.size(); ++stage) {
      const StateBytes state = model.state(static_cast<int>(stage));
      StateBytes& sum = held[static_cast<std::size_t>(rank_of_stage[stage])];
      sum.parameters += state.parameters;
      sum.gradients += state.gradients;
      sum.optimizer += state.optimizer;
    }
  }
  return held;
}

}  // namespace halfback
