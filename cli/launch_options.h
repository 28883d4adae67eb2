// The options of a run over several processes of this machine, which this program then starts.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace halfback::cli {

struct LaunchedRun {
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

  // Throws ConfigError for options that do not go together, or not with the run, and where another
  // launcher has started this process.
  void check(const LaunchedRun& run) const;

  // Returns whether this process is to launch others, and is not one of them.
  bool are_for_launch() const;

  // Starts this program as often as asked for, with the arguments that it was started with. Returns
  // and throws what launch() of halfback/launch does.
  int launch(const LaunchedRun& run) const;
};

}  // namespace halfback::cli
