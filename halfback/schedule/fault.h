// The parts of validate() and how they report: internal to its sources.
#pragma once

#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/schedule.h"

#include <string>
#include <vector>

namespace halfback::detail {

// Throws ScheduleError "where: rank r, position p: what" with the lists around the position.
[[noreturn]] void throw_fault(const Schedule& schedule,
                              const std::string& where,
                              Position position,
                              const std::string& what);

// Returns where an action stands: "position 21", or "position 21 of rank 0" on another rank than
// `from_rank`, or "missing".
std::string describe_place(const Schedule& schedule, const Action& action, int from_rank);

// Checks each rank's list by itself: range, once, place and order. Expects a sound placement.
void check_lists(const Schedule& schedule, const std::string& where);

// Checks that the k-th send of each channel is its k-th receive. Expects in-range actions.
void check_channel_order(const Schedule& schedule, const std::string& where);

// Checks that no rank holds more micro-batches between F and W than `limit`, counted in what one
// keeps on 1/N of the model. Expects lists that pass check_lists().
void check_held(const Schedule& schedule, const std::string& where, double limit);

// Throws the fault of a schedule that a dry run has not finished: the cycle of ranks that wait for
// each other, a sentence a rank.
[[noreturn]] void throw_deadlock(const Schedule& schedule,
                                 const std::string& where,
                                 const std::vector<int>& stopped_at,
                                 ChannelRule channel);

}  // namespace halfback::detail
