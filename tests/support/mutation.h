// Schedules that somebody has got wrong, for property tests.
#pragma once

#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/schedule.h"

#include <rapidcheck.h>

#include <utility>

namespace halfback::testing {

// One of: swap two, drop one, double one, move one to another rank, turn a message around, change
// one.
inline void mutate(Schedule& schedule) {
  auto& list = schedule.ranks[*rc::gen::inRange<std::size_t>(0, schedule.ranks.size())];
  if (list.empty()) {
    return;
  }
  const auto at = *rc::gen::inRange<std::size_t>(0, list.size());
  const auto other = *rc::gen::inRange<std::size_t>(0, list.size());
  switch (*rc::gen::inRange(0, 6)) {
    case 0:
      std::swap(list[at], list[other]);
      break;
    case 1:
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 2:
      list.insert(list.begin() + static_cast<std::ptrdiff_t>(other), list[at]);
      break;
    case 3:
      schedule.ranks[*rc::gen::inRange<std::size_t>(0, schedule.ranks.size())].push_back(list[at]);
      break;
    case 4:
      for (std::size_t i = at; i < list.size(); ++i) {
        if (is_message(list[i].kind)) {
          list[i] = counterpart(list[i]);
          break;
        }
      }
      break;
    default:
      list[at] = {static_cast<ActionKind>(*rc::gen::inRange(0, kNumActionKinds)),
                  *rc::gen::inRange(-1, 6), *rc::gen::inRange(-1, 9)};
  }
}

}  // namespace halfback::testing
