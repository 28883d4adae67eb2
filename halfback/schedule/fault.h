// How validate() reports: internal to its sources.
#pragma once

#include "halfback/schedule/schedule.h"

#include <string>
#include <vector>

namespace halfback::detail {

// Throws ScheduleError "where: rank r, position p: what" with the lists around the position.
[[noreturn]] void throw_fault(const Schedule& schedule,
                              const std::string& where,
                              Position position,
                              const std::string& what);

// Returns the place of an action: "position 21", or "rank 0, position 21" if it is not on
// `from_rank`, or "missing".
std::string describe_place(const Schedule& schedule, const Action& action, int from_rank);

}  // namespace halfback::detail
