// The passes that add and remove the messages between ranks.
#pragma once

#include "halfback/schedule/dry_run.h"
#include "halfback/schedule/schedule.h"

#include <string>

namespace halfback {

// Returns the schedule with its sends and receives, between stages on different ranks only; it runs
// under the channel rule, and there is such an order for every schedule and every rule. A send
// stands right after the action that makes its tensor (so a gradient leaves before any W). A
// receive stands right before the action that takes it; or earlier, where its channel's order
// demands (receives of a channel keep the order of its sends) or where its sender would wait for
// room: there it stands between the two actions at which the message passes if F, I and W take one
// unit of time and B two. Adds no wait that the lists do not have when channels are buffered. For
// streams the order is that of a rendezvous, which runs under every rule. Throws ScheduleError for
// a schedule that already has messages or that does not run; `where` is in front of its text.
Schedule add_communication(const Schedule& schedule,
                           ChannelRule rule = kBuffered,
                           const std::string& where = "schedule");

// Returns the schedule as it is where it has messages, else with those of add_communication().
Schedule with_messages(const Schedule& schedule, ChannelRule rule);

// Returns the schedule without its sends and receives.
Schedule remove_communication(const Schedule& schedule);

}  // namespace halfback
