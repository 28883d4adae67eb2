#include "halfback/launch/launcher.h"

#include "halfback/base/error.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

namespace halfback {

namespace {

void make_log_directory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw FileError(fmt::format("{}: cannot make the directory: {}; choose another --log-dir",
                                directory, error.message()));
  }
}

// Starts all processes once and runs them until all have ended.
TeamOutcome run_once(const LaunchRequest& request,
                     int restart,
                     const std::vector<std::string>& added,
                     SignalQueue& signals) {
  TeamRequest team = request.team;
  team.arguments.insert(team.arguments.end(), added.begin(), added.end());
  const std::string place = request.make_meeting_place();
  for (std::size_t index = 0; index < team.processes.size(); ++index) {
    team.processes[index].environment = {
        fmt::format("HALFBACK_PROCESS={}", index),
        fmt::format("HALFBACK_PROCESSES={}", team.processes.size()),
        fmt::format("HALFBACK_RESTART={}", restart), place};
  }
  return run_team(team, signals);
}

}  // namespace

int launch(const LaunchRequest& request) {
  if (!request.team.log_directory.empty()) {
    make_log_directory(request.team.log_directory);
  }
  SignalQueue signals = team_signals();
  std::vector<std::string> added;
  for (int restart = 0;; ++restart) {
    const TeamOutcome outcome = run_once(request, restart, added, signals);
    if (outcome.error.empty()) {
      return outcome.exit_code;
    }
    if (outcome.exit_code == 2) {
      throw ConfigError(outcome.error);
    }
    // What the first start refuses, a restart would refuse too.
    const bool repeats = outcome.exit_code == kRefusedExit && restart == 0;
    if (repeats || restart == request.max_restarts) {
      throw Error(outcome.error);
    }
    added = request.on_restart(restart + 1, outcome.error);
  }
}

}  // namespace halfback
