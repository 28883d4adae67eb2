// Runs over several processes of this machine: starts them, lets them meet, watches over them and
// starts them again.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace halfback::cli {

// What is launched.
struct Launch {
  int num_ranks = 1;
  std::filesystem::path checkpoint;  // to start again from; "" for none
  bool resumes = false;              // from it in any case
};

// --processes, --max-restarts, --log-dir.
struct LaunchOptions {
  std::optional<int> num_processes;
  int max_restarts = 0;
  std::string log_directory;

  // The verb's callback must keep this object alive.
  void add_to(CLI::App& verb);

  // Throws ConfigError for options that do not go together, or not with what is launched, and where
  // another launcher has started this process.
  void check(const Launch& run) const;

  // Returns whether this process is to launch others, and is not one of them.
  bool are_for_launch() const;
};

// Starts this program as often as asked for, with the arguments that it was started with. Returns 0
// or kInterruptedExit; throws ConfigError or Error with the reason of the last failure, as the
// process that failed would have thrown it.
int launch(const LaunchOptions& options, const Launch& run);

}  // namespace halfback::cli
