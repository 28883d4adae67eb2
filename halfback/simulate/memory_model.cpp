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
      : schedule_(schedule), model_(model), with_messages_(has_messages(schedule)) {}

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

  // Applies what an action adds to, or frees from, what its stage keeps.
  void keep(const Action& action, MemoryParts& held) const {
    const Kept layers = kept_by_layers(schedule_.losses, action);
    const Kept head = kept_by_head(schedule_.losses, action);
    const StageBytes& all = bytes(action.stage);
    const auto add = [](std::int64_t& sum, int of_layers, int of_head, std::int64_t bytes,
                        std::int64_t head_bytes) {
      sum += of_layers * (bytes - head_bytes) + of_head * head_bytes;
    };
    add(held.until_input, layers.until_input, head.until_input, all.until_input,
        all.head.until_input);
    add(held.until_weight, layers.until_weight, head.until_weight, all.until_weight,
        all.head.until_weight);
    add(held.gradients, layers.gradients, head.gradients, all.gradients, all.head.gradients);
  }

  // Returns the bytes of the message that an action takes: its stage's input, or a gradient from
  // the stage above.
  std::int64_t message(const Action& taker) const {
    const StageBytes& stage = bytes(taker.stage);
    return is_forward(taker.kind) ? stage.activation_message : stage.gradient_message;
  }

  std::int64_t arrived(const Action& action) const {
    return is_receive(action.kind) ? message(action) : 0;
  }

  // Returns the bytes that wait for another stage of the same rank, or to be sent.
  std::int64_t handed_over(const Action& action) const {
    const Action send = send_for(action);
    return gives_to_neighbor(schedule_, action) &&
                   (with_messages_ || is_local(counterpart(send), action))
               ? sent(send)
               : 0;
  }

  std::int64_t sent(const Action& action) const {
    return is_send(action.kind) ? message(counterpart(action)) : 0;
  }

  std::int64_t taken(const Action& action) const {
    return takes_from_neighbor(schedule_, action) &&
                   (with_messages_ || is_local(neighbor_input(schedule_, action), action))
               ? message(action)
               : 0;
  }

  bool is_local(const Action& other, const Action& action) const {
    return schedule_.placement.rank_of(other) == schedule_.placement.rank_of(action);
  }

  const Schedule& schedule_;
  const MemoryModel& model_;
  bool with_messages_;
};

void check_stages(const char* what, std::size_t count, const Schedule& schedule) {
  if (count != 1 && count != static_cast<std::size_t>(schedule.num_stages())) {
    throw ConfigError(fmt::format(
        "memory: {} of {} stages for a schedule of {}; give one for all or one per stage", what,
        count, schedule.num_stages()));
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
