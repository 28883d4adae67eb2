// What several torch-free tests share: schedules from short text, and errors as text.
#pragma once

#include "halfback/base/error.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/schedule.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace halfback::testing {

// Returns the text of the Error that the call throws, or "no error".
inline std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

inline Schedule parse(const std::string& text) { return parse_schedule(text, "test.csv"); }

// Returns a family's schedule with its natural number of micro-batches.
inline Schedule family(const std::string& name, int num_ranks, bool two_stage = true) {
  const Family& entry = halfback::family(name);
  return entry.build({.num_ranks = num_ranks,
                      .num_micro_batches = entry.default_micro_batches(num_ranks),
                      .two_stage = two_stage});
}

// The same, but on 4 ranks, which every family admits, where it does not admit that many.
inline Schedule family_or_on_four(const std::string& name, int num_ranks) {
  try {
    return family(name, num_ranks);
  } catch (const ConfigError&) {
    return family(name, 4);
  }
}

// Returns a rank's list as "0F0 0I0 0W0".
inline std::string list_text(const Schedule& schedule, int rank) {
  std::string text;
  for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
    text += text.empty() ? "" : " ";
    text += to_string(action);
  }
  return text;
}

// Returns a schedule with its actions of a kind taken out.
inline Schedule without(Schedule schedule, ActionKind kind) {
  for (std::vector<Action>& list : schedule.ranks) {
    std::erase_if(list, [kind](const Action& action) { return action.kind == kind; });
  }
  return schedule;
}

// Returns a schedule of several replicas with its reductions at the ends of its lists.
inline Schedule reduced_at_the_end(const Schedule& schedule) {
  Schedule result = without(schedule, ActionKind::ReduceGradient);
  const auto micro_batches =
      micro_batches_by_replica(schedule.placement, schedule.num_micro_batches);
  for (std::size_t replica = 0; replica < micro_batches.size(); ++replica) {
    for (int stage = 0; stage < schedule.num_stages(); ++stage) {
      const Action reduce{ActionKind::ReduceGradient, stage, micro_batches[replica].front()};
      if (schedule.losses.has_backward(stage)) {
        result.ranks[static_cast<std::size_t>(schedule.placement.rank_of(reduce))].push_back(
            reduce);
      }
    }
  }
  return result;
}

inline bool has_text(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace halfback::testing
