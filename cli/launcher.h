// Runs over several processes of this machine: starts them, lets them meet, watches over them and
// starts them again.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace halfback::cli {

// --processes, --max-restarts, --log-dir.
struct LaunchOptions {
  std::optional<int> num_processes;
  int max_restarts = 0;
  std::string log_directory;

  // The verb's callback must keep this object alive.
  void add_to(CLI::App& verb);

  // Returns whether this process is to launch others. Throws ConfigError for options that go with
  // no launch, and where another launcher has started this process.
  bool are_for_launch() const;
};

struct Launch {
  int num_ranks = 1;
  std::filesystem::path checkpoint;  // to start again from; "" for none
  bool resumes = false;              // from it in any case
};

// Starts this program as often as asked for, with the arguments that it was started with. Returns 0
// or kInterruptedExit; throws ConfigError or Error with the reason of the last failure, as the
// process that failed would have thrown it.
int launch(const LaunchOptions& options, const Launch& launch);

}  // namespace halfback::cli
