#include "halfback/schedule/runnable.h"

#include "halfback/base/option.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/validate.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace halfback {

namespace {

void require_supported(const Schedule& schedule, const std::string& where) {
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    std::vector<int> stages = schedule.placement.stages_of(rank);
    std::sort(stages.begin(), stages.end());
    const auto twice = std::adjacent_find(stages.begin(), stages.end());
    if (twice != stages.end()) {
      throw ScheduleError(
          fmt::format("{}: rank {} holds two replicas of stage {}; running that is not supported; "
                      "put one on another rank",
                      where, rank, *twice));
    }
  }
}

}  // namespace

RunnableSchedule make_runnable(const Schedule& schedule, const RunnableOptions& options) {
  const int capacity = options.channel_capacity;
  require_option(capacity >= 1, "channel-capacity", capacity, "1 or more");
  require_supported(schedule, options.where);
  if (!has_messages(schedule)) {
    return {add_communication(schedule, {capacity}, options.where), capacity};
  }
  if (options.verifies) {
    validate(schedule, {.channel = {capacity}, .where = options.where});
  }
  return {schedule, capacity};
}

}  // namespace halfback
