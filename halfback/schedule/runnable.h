// A schedule that is ready to run: its messages were added and it was checked, both only once.
#pragma once

#include "halfback/schedule/schedule.h"

#include <string>

namespace halfback {

inline constexpr int kDefaultChannelCapacity = 16;

struct RunnableOptions {
  // Number of messages that a channel holds before a send waits, at least 1. A smaller number takes
  // less memory; a file with its own messages may need a larger one.
  int channel_capacity = kDefaultChannelCapacity;
  // Whether a schedule with its own messages is validated. One without is always validated, because
  // messages are added only to valid lists.
  bool verifies = true;
  std::string where = "schedule";  // prefix of every error, such as a file name
};

// The schedule that the engine takes. Only make_runnable() makes one; the default one has no ranks.
class RunnableSchedule {
 public:
  RunnableSchedule() = default;

  const Schedule& operator*() const { return schedule_; }
  const Schedule* operator->() const { return &schedule_; }
  int channel_capacity() const { return channel_capacity_; }

 private:
  RunnableSchedule(Schedule schedule, int channel_capacity)
      : schedule_(std::move(schedule)), channel_capacity_(channel_capacity) {}
  friend RunnableSchedule make_runnable(const Schedule& schedule, const RunnableOptions& options);

  Schedule schedule_;
  int channel_capacity_ = kDefaultChannelCapacity;
};

// Adds the messages that the schedule may lack, so that it runs over channels of this capacity.
// Throws ScheduleError as validate(), and for two replicas of a stage on one rank, which an
// unverified schedule may have. Throws ConfigError for a capacity below 1.
RunnableSchedule make_runnable(const Schedule& schedule, const RunnableOptions& options = {});

}  // namespace halfback
