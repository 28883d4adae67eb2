// Several processes that work together: if one fails, all are ended.
#pragma once

#include "halfback/launch/signal_queue.h"

#include <chrono>
#include <string>
#include <vector>

namespace halfback {

// Exit code of work that Ctrl-C ended.
inline constexpr int kInterruptedExit = 130;

struct TeamRequest {
  struct Process {
    std::string name;                      // for messages, such as "process 1 (ranks 2-3)"
    std::vector<std::string> environment;  // NAME=VALUE
  };
  std::string program;                 // path, for every process
  std::vector<std::string> arguments;  // its name first
  std::vector<Process> processes;
  std::string log_directory;  // for the output of each, process_0.log ...; "" for none
  // How long survivors of a failure have to end by themselves, which they do once the failure is
  // reported to them (see Processes), and then the time between SIGTERM and SIGKILL.
  std::chrono::milliseconds grace{5000};
  std::chrono::milliseconds moment{2000};
};

struct TeamOutcome {
  int exit_code = 0;
  std::string error;  // if the code is neither 0 nor kInterruptedExit
};

// The signals that run_team() expects to be blocked for it. Ctrl-Z is one of them, because it would
// stop only this process.
SignalQueue team_signals();

// Runs the processes until all have ended.
//
// Process 0 writes to this process's streams as if it were alone; lines of the others begin with
// "[process 1] ". The output of a process from a line "error: ..." on is the reason for its
// failure. The outcome has the first reason; others are shown if they differ. When one process
// fails, the others have `grace` to end by themselves, then get SIGTERM, then SIGKILL. The first
// SIGINT or SIGTERM is passed on; after the second one the processes have `moment` to end.
TeamOutcome run_team(const TeamRequest& request, SignalQueue& signals);

}  // namespace halfback
