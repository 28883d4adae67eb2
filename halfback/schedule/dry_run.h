// Runs a schedule without times: which actions complete, and where each rank stops. Whether it runs
// to its end does not depend on the speed of the ranks, only on the lists and on the channel rule.
#pragma once

#include "halfback/schedule/schedule.h"

#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// How many messages a channel (an ordered pair of ranks) holds between send and receive. A send
// waits while its channel is full; with capacity 0 a send and its receive complete together.
struct ChannelRule {
  static constexpr int kUnbounded = std::numeric_limits<int>::max();

  int capacity = kUnbounded;

  bool operator==(const ChannelRule&) const = default;
};

inline constexpr ChannelRule kBuffered{ChannelRule::kUnbounded};
inline constexpr ChannelRule kRendezvous{0};

// Returns "buffered", "rendezvous" or "capacity 2".
std::string to_string(ChannelRule rule);

// Reads "buffered", "rendezvous" or a capacity; else ConfigError.
ChannelRule parse_channel_rule(std::string_view text);

struct DryRun {
  std::vector<int> stopped_at;  // by rank: index of the first action that did not complete
  bool finished = false;        // all lists ran to their ends
};

// Runs the lists and calls on_done for each action as it completes: an order in which everything
// that an action waits for comes before it. Without messages, F, I and B wait for the other stage's
// compute action; with messages, receives wait for sends. Expects stages, micro-batches and message
// pairs as validate() checks them. Linear in the number of actions.
DryRun dry_run(const Schedule& schedule,
               ChannelRule rule,
               const std::function<void(Position)>& on_done = {});

}  // namespace halfback
