#include "halfback/schedule/passes.h"

#include "halfback/schedule/dataflow.h"

#include <algorithm>

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

Schedule forward_only(const Schedule& schedule, int num_micro_batches) {
  const Placement placement = single_copy(schedule.placement.replicas.front());
  Schedule result{.name = schedule.name,
                  .num_micro_batches = num_micro_batches,
                  .placement = placement,
                  .ranks = std::vector<std::vector<Action>>(schedule.ranks.size())};
  for (int tick = 0; tick < schedule.num_stages() + num_micro_batches - 1; ++tick) {
    const int first_stage = std::max(0, tick - num_micro_batches + 1);
    for (int stage = first_stage; stage <= std::min(tick, schedule.num_stages() - 1); ++stage) {
      const Action forward{ActionKind::Forward, stage, tick - stage};
      auto& list = result.ranks[static_cast<std::size_t>(placement.rank_of(forward))];
      if (const auto receive = needed_receive(placement, forward)) {
        list.push_back(*receive);
      }
      list.push_back(forward);
      if (const auto send = resulting_send(placement, forward)) {
        list.push_back(*send);
      }
    }
  }
  return result;
}

}  // namespace halfback
