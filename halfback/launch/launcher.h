// A team of processes that all restart after a failure.
#pragma once

#include "halfback/launch/process_team.h"

#include <functional>
#include <string>
#include <vector>

namespace halfback {

// Exit code of a process that refuses its input for a reason other than usage. Only the launcher
// sees it; its own exit code is then 1.
inline constexpr int kRefusedExit = 3;

struct LaunchRequest {
  TeamRequest team;  // of every start; each process also gets its number and the restart's
  int max_restarts = 0;

  // Makes a place where the processes of the next start meet. Returns it as NAME=VALUE.
  std::function<std::string()> make_meeting_place;

  // Takes the number of a restart, from 1, and the failure before it. Returns the arguments of this
  // start that follow the team's.
  std::function<std::vector<std::string>(int restart, const std::string& failure)> on_restart;
};

// Runs the processes until all have ended. Returns 0 or kInterruptedExit. Throws ConfigError or
// Error with the reason for the last failure, as the failed process would have thrown it, and
// FileError if the log directory cannot be made.
int launch(const LaunchRequest& request);

}  // namespace halfback
