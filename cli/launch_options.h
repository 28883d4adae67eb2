// The options of a run over several processes of this machine, which this program then starts.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <optional>
#include <string>

namespace halfback::cli {

// This program itself, even if another one has replaced its file.
inline constexpr const char* kOwnProgram = "/proc/self/exe";

struct LaunchedRun {
  int num_ranks = 1;
  std::filesystem::path checkpoint;  // to restart from; "" for none
  bool resumes = false;              // restarts from it even if the run has not written it
};

// --processes, --max-restarts, --log-dir.
struct LaunchOptions {
  std::optional<int> num_processes;
  int max_restarts = 0;
  std::string log_directory;

  // The verb's callback must keep this object alive.
  void add_to(CLI::App& verb);

  // Throws ConfigError for options that do not fit each other or the run, and if another launcher
  // has started this process.
  void check(const LaunchedRun& run) const;

  // Returns whether this process is to launch others, rather than being one of them.
  bool are_for_launch() const;

  // Starts this program as many times as requested, with this process's own arguments. Returns and
  // throws what launch() of halfback/launch does.
  int launch(const LaunchedRun& run) const;
};

}  // namespace halfback::cli
