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

}  // namespace halfback::detail
