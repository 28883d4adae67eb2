#include "halfback/schedule/schedule.h"

#include <algorithm>

namespace halfback {

namespace {

template <typename Predicate>
bool any_action(const Schedule& schedule, Predicate predicate) {
  return std::any_of(schedule.ranks.begin(), schedule.ranks.end(), [&](const auto& list) {
    return std::any_of(list.begin(), list.end(), predicate);
  });
}

}  // namespace

std::int64_t num_actions(const Schedule& schedule) {
  std::int64_t count = 0;
  for (const auto& list : schedule.ranks) {
    count += static_cast<std::int64_t>(list.size());
  }
  return count;
}

bool has_messages(const Schedule& schedule) {
  return any_action(schedule, [](const Action& action) { return is_message(action.kind); });
}

bool has_reductions(const Schedule& schedule) {
  return any_action(schedule,
                    [](const Action& action) { return action.kind == ActionKind::ReduceGradient; });
}

bool is_two_stage(const Schedule& schedule) {
  return any_action(schedule,
                    [](const Action& action) { return action.kind == ActionKind::BackwardInput; });
}

bool has_updates(const Schedule& schedule) {
  return any_action(schedule,
                    [](const Action& action) { return action.kind == ActionKind::Update; });
}

bool weight_gradients_ascend(const Schedule& schedule) {
  const Placement& placement = schedule.placement;
  const auto num_stages = static_cast<std::size_t>(placement.num_stages());
  std::vector<int> last(num_stages * placement.replicas.size(), -1);
  return !any_action(schedule, [&](const Action& action) {
    if (!adds_weight_gradient(action.kind)) {
      return false;
    }
    const auto replica = static_cast<std::size_t>(placement.replica_of(action.micro_batch));
    int& previous = last[replica * num_stages + static_cast<std::size_t>(action.stage)];
    const bool falls = action.micro_batch <= previous;
    previous = action.micro_batch;
    return falls;
  });
}

}  // namespace halfback
