// Runs a schedule without times: finds which actions complete, and where each rank stops. Whether
// the schedule finishes depends only on the lists and the channel rule, not on the speed of the
// ranks.
#pragma once

#include "halfback/schedule/schedule.h"

#include <functional>
#include <limits>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

// Rules under which a rank does not wait at the messages of its list, but posts SEND and RECV to a
// stream. A stream carries its messages in order; each passes once both its ends are at the front
// of their streams. The rank waits for a tensor only when a compute action takes it. This is how
// NCCL moves messages that a host thread posts.
enum class Streams {
  None,          // a rank waits at its sends and receives
  PerDirection,  // a stream for each ordered pair of ranks
  PerPair,       // one for both directions, as in torch.distributed for single messages
};

// How many messages a channel (an ordered pair of ranks) holds between send and receive. A send
// waits while its channel is full; with capacity 0 a send and its receive complete together.
struct ChannelRule {
  static constexpr int kUnbounded = std::numeric_limits<int>::max();

  int capacity = kUnbounded;
  Streams streams = Streams::None;  // otherwise the capacity is 0

  bool operator==(const ChannelRule&) const = default;
};

// One stream for all messages of a rank, as in torch.distributed for batches of messages, needs no
// rule: it runs exactly the schedules that run as a rendezvous.
inline constexpr ChannelRule kBuffered{ChannelRule::kUnbounded};
inline constexpr ChannelRule kRendezvous{0};
inline constexpr ChannelRule kNccl{0, Streams::PerDirection};
inline constexpr ChannelRule kNcclPair{0, Streams::PerPair};

// Returns "buffered", "rendezvous", "nccl", "nccl-pair" or "capacity 2".
std::string to_string(ChannelRule rule);

// Reads "buffered", "rendezvous", "nccl", "nccl-pair" or a capacity; else ConfigError.
ChannelRule parse_channel_rule(std::string_view text);

struct DryRun {
  std::vector<int> stopped_at;  // by rank: index of the first action that did not complete
  bool finished = false;        // all lists ran to their ends, and no stream holds a message
};

// Runs the lists and calls on_done for each action as it completes. In this order, everything that
// an action waits for comes before it; with streams, a message completes when it is posted. Without
// messages, F, I and B wait for the other stage's compute action; with messages, receives wait for
// sends. With replicas of the weights, U waits for the REDUCE_GRAD of all of them; when no rank can
// do anything else, `next_sum` chooses whose sum ends next, among the stages that are at U and need
// not wait; without it, the first. Expects stages, micro-batches and message pairs as validate()
// checks them. Linear in the number of actions.
DryRun dry_run(const Schedule& schedule,
               ChannelRule rule,
               const std::function<void(Position)>& on_done = {},
               const std::function<int(const std::set<int>& stages)>& next_sum = {});

}  // namespace halfback
