// A schedule that is ready to run: it has its messages, and it was checked, both once.
#pragma once

#include "halfback/schedule/schedule.h"

#include <string>

namespace halfback {

inline constexpr int kDefaultChannelCapacity = 16;

struct RunnableOptions {
  // Messages that wait between two ranks before a send waits, at least 1. Fewer take less memory,
  // and a file with messages of its own may need more.
  int channel_capacity = kDefaultChannelCapacity;
  // Whether a schedule with messages of its own is validated. One without always is, since messages
  // are added to valid lists only.
  bool verifies = true;
  std::string where = "schedule";  // front of every message, for instance a file name
};

// What the engine takes. Made by make_runnable() only; the default one has no ranks.
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
// Throws ScheduleError as validate(), and for what a Pipeline cannot run: local losses, which a
// valid schedule may hold, and two replicas of a stage on one rank, which an unverified one may;
// ConfigError for a capacity below 1.
RunnableSchedule make_runnable(const Schedule& schedule, const RunnableOptions& options = {});

}  // namespace halfback
