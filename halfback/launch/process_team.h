// Several processes that work together and stand and fall together.
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
    std::string name;                      // for messages, as "process 1 (ranks 2-3)"
    std::vector<std::string> environment;  // NAME=VALUE
  };
  std::string program;                 // of every process: its path
  std::vector<std::string> arguments;  // its name first
  std::vector<Process> processes;
  std::string log_directory;  // for what each one says, process_0.log ...; "" for none
  // What survivors of a failure get to end by themselves (they do when they have heard of it, see
  // Processes), and what they then get between SIGTERM and SIGKILL.
  std::chrono::milliseconds grace{5000};
  std::chrono::milliseconds moment{2000};
};

struct TeamOutcome {
  int exit_code = 0;
  std::string error;  // where the code is neither 0 nor kInterruptedExit
};

// Signals that run_team() expects to be held for it. Ctrl-Z would stop this process alone, so it is
// held as well.
SignalQueue team_signals();

// Runs the processes to their ends, and leaves none.
//
// Process 0 writes to this process's streams as if alone; lines of the others have "[process 1] "
// before them. What a process says from a line "error: ..." on is its reason to fail; the first is
// the outcome's, and others are shown where they differ. When one fails, the others have a grace to
// end by themselves, then get SIGTERM, then SIGKILL. The first SIGINT or SIGTERM is passed on;
// after the second one they have a moment to end.
TeamOutcome run_team(const TeamRequest& request, SignalQueue& signals);

}  // namespace halfback
