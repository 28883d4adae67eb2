#include "halfback/schedule/fault.h"

#include "halfback/base/error.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace halfback::detail {

namespace {

std::optional<Position> find_action(const Schedule& schedule, const Action& action) {
  const int rank = schedule.placement.rank_of(action);
  const auto& list = schedule.ranks[static_cast<std::size_t>(rank)];
  const auto found = std::find(list.begin(), list.end(), action);
  if (found == list.end()) {
    return std::nullopt;
  }
  return Position{rank, static_cast<int>(found - list.begin())};
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
  const auto& list = schedule.ranks[static_cast<std::size_t>(position.rank)];
  const auto index = static_cast<std::size_t>(position.index);
  throw ScheduleError(fmt::format("{}: rank {}, position {}: {}\n{}", where, position.rank,
                                  position.index, what, draw_lists(schedule, {.marked = position})),
                      {.rank = position.rank,
                       .position = position.index,
                       .action = index < list.size() ? to_string(list[index]) : ""});
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

}  // namespace halfback::detail
