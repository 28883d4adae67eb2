#include "halfback/schedule/passes.h"

#include <utility>

namespace halfback {

namespace {

// Returns the schedule with rewrite(list, result) filling each rank's new list.
template <typename Rewrite>
Schedule rewrite_lists(const Schedule& schedule, Rewrite rewrite) {
  Schedule result{.name = schedule.name,
                  .num_micro_batches = schedule.num_micro_batches,
                  .placement = schedule.placement,
                  .ranks = {}};
  for (const auto& list : schedule.ranks) {
    rewrite(list, result.ranks.emplace_back());
  }
  return result;
}

}  // namespace

Schedule remove_communication(const Schedule& schedule) {
  return rewrite_lists(schedule, [](const auto& list, auto& result) {
    for (const Action& action : list) {
      if (!is_message(action.kind)) {
        result.push_back(action);
      }
    }
  });
}

Schedule merge_backward(const Schedule& schedule) {
  return rewrite_lists(schedule, [](const auto& list, auto& result) {
    for (const Action& action : list) {
      const Action input{ActionKind::BackwardInput, action.stage, action.micro_batch};
      if (action.kind == ActionKind::BackwardWeight && !result.empty() && result.back() == input) {
        result.back().kind = ActionKind::Backward;
      } else {
        result.push_back(action);
      }
    }
  });
}

Schedule split_backward(const Schedule& schedule) {
  return rewrite_lists(schedule, [](const auto& list, auto& result) {
    for (const Action& action : list) {
      if (action.kind == ActionKind::Backward) {
        result.push_back({ActionKind::BackwardInput, action.stage, action.micro_batch});
        result.push_back({ActionKind::BackwardWeight, action.stage, action.micro_batch});
      } else {
        result.push_back(action);
      }
    }
  });
}

Schedule forward_only(const Schedule& schedule) {
  return rewrite_lists(schedule, [](const auto& list, auto& result) {
    for (const Action& action : list) {
      if (action.kind == ActionKind::Forward || action.kind == ActionKind::SendForward ||
          action.kind == ActionKind::RecvForward) {
        result.push_back(action);
      }
    }
  });
}

}  // namespace halfback
