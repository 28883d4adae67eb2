// The parts of validate() that look at lists one by one, and at the two ends of each channel:
// internal to it.
#pragma once

#include "halfback/schedule/schedule.h"

#include <string>

namespace halfback::detail {

// Checks each rank's list by itself: range, once, place and order. Expects a sound placement.
void check_lists(const Schedule& schedule, const std::string& where);

// Checks that the k-th send of each channel is its k-th receive. Expects lists that pass
// check_lists().
void check_channel_order(const Schedule& schedule, const std::string& where);

}  // namespace halfback::detail
