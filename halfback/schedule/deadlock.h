// How validate() reports ranks that wait for each other: who waits for whom, in sentences.
#pragma once

#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/schedule.h"

#include <string>
#include <vector>

namespace halfback::detail {

// Throws the fault of a schedule that a dry run could not finish: the cycle of ranks that wait for
// each other, one sentence per rank.
[[noreturn]] void throw_deadlock(const Schedule& schedule,
                                 const std::string& where,
                                 const std::vector<int>& stopped_at,
                                 ChannelRule channel);

}  // namespace halfback::detail
