// A team of processes that all start again after a failure.
#pragma once

#include "halfback/launch/process_team.h"

#include <functional>
#include <string>
#include <vector>

namespace halfback {

// Exit code of a process that refuses its input for another reason than usage. Only the launcher
// sees it; its own exit code is then 1.
inline constexpr int kRefusedExit = 3;

struct LaunchRequest {
  TeamRequest team;  // of every start; each process gets its number besides, and the restart's
  int max_restarts = 0;

  // Makes a place where the processes of the next start meet, and returns it as NAME=VALUE.
  std::function<std::string()> make_meeting_place;

  // Gets the number of a restart, from 1, and the failure before it. Returns the arguments that
  // this start gets besides the team's.
  std::function<std::vector<std::string>(int restart, const std::string& failure)> on_restart;
};

// Runs the processes to their ends, and leaves none. Returns 0 or kInterruptedExit; throws
// ConfigError or Error with the reason of the last failure, as the process that failed would have
// thrown it, and FileError where the log directory cannot be made.
int launch(const LaunchRequest& request);

}  // namespace halfback
