// The passes that add and remove the messages between ranks.
#pragma once

#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/schedule.h"

#include <string>

namespace halfback {

// Returns the schedule with sends and receives between stages on different ranks. The result runs
// under the channel rule; such an order exists for every schedule and every rule.
//
// A send follows the action that makes its tensor, so a gradient leaves before any W. A receive
// precedes the action that takes its tensor. It comes earlier if its channel's order demands it
// (receives of a channel keep the order of its sends) or if its sender would wait for room. Then it
// is where the message passes if F, I and W take one unit of time and B two. With buffered
// channels, the messages add no waits. For streams, the order is that of a rendezvous, which runs
// under every rule. Throws ScheduleError for a schedule that already has messages or that does not
// run; its text begins with `where`.
Schedule add_communication(const Schedule& schedule,
                           ChannelRule rule = kBuffered,
                           const std::string& where = "schedule");

// Returns the schedule unchanged if it has messages, else with those of add_communication().
Schedule with_messages(const Schedule& schedule, ChannelRule rule);

// Returns the schedule without its sends and receives.
Schedule remove_communication(const Schedule& schedule);

}  // namespace halfback
