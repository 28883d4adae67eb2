#include "halfback/schedule/fault.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace halfback::detail {

namespace {

constexpr std::size_t kMaxBlockedLines = 16;

std::optional<Position> find_action(const Schedule& schedule, const Action& action) {
  const int rank = schedule.placement.rank_of(action);
  const auto& list = schedule.ranks[static_cast<std::size_t>(rank)];
  const auto found = std::find(list.begin(), list.end(), action);
  if (found == list.end()) {
    return std::nullopt;
  }
  return Position{rank, static_cast<int>(found - list.begin())};
}

// Returns what a blocked action waits for, as the end of "2F0 waits for ...".
std::string describe_wait(const Schedule& schedule, Position position, ChannelRule channel) {
  const Action& action = action_at(schedule, position);
  if (is_send(action.kind)) {
    const Action receive = counterpart(action);
    if (channel == kRendezvous) {
      return fmt::format("{} ({})", to_string(receive),
                         describe_place(schedule, receive, position.rank));
    }
    return fmt::format("room on the channel to rank {}, which holds {}",
                       schedule.placement.rank_of(receive), channel.capacity);
  }
  Action needed = is_receive(action.kind) ? counterpart(action)
                                          : taken_from(schedule.placement, action).value_or(action);
  if (needed.kind == ActionKind::BackwardInput && !find_action(schedule, needed)) {
    needed.kind = ActionKind::Backward;
  }
  return fmt::format("{} ({})", to_string(needed), describe_place(schedule, needed, position.rank));
}

using ChannelSends = std::vector<std::vector<Action>>;

ChannelSends sends_by_channel(const Schedule& schedule, const Channels& channels) {
  ChannelSends sends(static_cast<std::size_t>(channels.count()));
  for (const auto& list : schedule.ranks) {
    for (const Action& action : list) {
      if (is_send(action.kind)) {
        sends[static_cast<std::size_t>(channels.of(action))].push_back(action);
      }
    }
  }
  return sends;
}

std::string describe_mismatch(const Schedule& schedule,
                              const Action& receive,
                              const Action& sent,
                              std::size_t number) {
  return fmt::format(
      "{} is receive {} from rank {}, but send {} there is {} ({}); a channel keeps "
      "its order",
      to_string(receive), number, schedule.placement.rank_of(sent), number, to_string(sent),
      describe_place(schedule, sent, schedule.placement.rank_of(receive)));
}

}  // namespace

void throw_fault(const Schedule& schedule,
                 const std::string& where,
                 Position position,
                 const std::string& what) {
  throw ScheduleError(fmt::format("{}: rank {}, position {}: {}\n{}", where, position.rank,
                                  position.index, what,
                                  draw_lists(schedule, {.marked = position})));
}

std::string describe_place(const Schedule& schedule, const Action& action, int from_rank) {
  const std::optional<Position> place = find_action(schedule, action);
  if (!place) {
    return "missing";
  }
  if (place->rank == from_rank) {
    return fmt::format("position {}", place->index);
  }
  return fmt::format("rank {}, position {}", place->rank, place->index);
}

void check_channel_order(const Schedule& schedule, const std::string& where) {
  const Channels channels(schedule.placement);
  const ChannelSends sends = sends_by_channel(schedule, channels);
  std::vector<std::size_t> num_received(sends.size(), 0);
  // Lists are complete and free of doubles, so each channel has as many receives as sends.
  const auto check = [&](Position place, const Action& receive) {
    const auto channel = static_cast<std::size_t>(channels.of(receive));
    const std::size_t number = num_received[channel]++;
    const Action& sent = sends[channel][number];
    if (sent != counterpart(receive)) {
      throw_fault(schedule, where, place, describe_mismatch(schedule, receive, sent, number));
    }
  };
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    Position place{rank, 0};
    for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
      if (is_receive(action.kind)) {
        check(place, action);
      }
      ++place.index;
    }
  }
}

void throw_deadlock(const Schedule& schedule,
                    const std::string& where,
                    const std::vector<int>& stopped_at,
                    ChannelRule channel) {
  std::vector<Position> blocked;
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    const int index = stopped_at[static_cast<std::size_t>(rank)];
    if (index < static_cast<int>(schedule.ranks[static_cast<std::size_t>(rank)].size())) {
      blocked.push_back({rank, index});
    }
  }
  std::string text = fmt::format(
      "{}: rank {}, position {}: {} waits for ever: {} ranks wait for each other ({})\n", where,
      blocked[0].rank, blocked[0].index, to_string(action_at(schedule, blocked[0])), blocked.size(),
      to_string(channel));
  for (std::size_t i = 0; i < blocked.size() && i < kMaxBlockedLines; ++i) {
    text += fmt::format("  rank {}, position {}: {} waits for {}\n", blocked[i].rank,
                        blocked[i].index, to_string(action_at(schedule, blocked[i])),
                        describe_wait(schedule, blocked[i], channel));
  }
  if (blocked.size() > kMaxBlockedLines) {
    text += fmt::format("  and {} ranks more\n", blocked.size() - kMaxBlockedLines);
  }
  throw ScheduleError(text + draw_lists(schedule, {.marked = blocked[0]}));
}

}  // namespace halfback::detail
