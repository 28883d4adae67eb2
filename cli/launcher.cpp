#include "cli/launcher.h"

#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/launch/process_team.h"
#include "halfback/train/kept_checkpoints.h"
#include "halfback/transport/store.h"
#include "halfback/transport/world.h"

#include <fmt/format.h>

#include <iostream>
#include <sys/stat.h>
#include <system_error>
#include <utility>
#include <vector>

namespace halfback::cli {

namespace {

constexpr const char* kLoopback = "127.0.0.1";

// Throws ConfigError with what `text` returns unless it holds.
template <typename Text>
void require(bool holds, Text&& text) {
  if (!holds) {
    throw ConfigError(std::forward<Text>(text)());
  }
}

// This very program, also when another one lies in its place by now.
constexpr const char* kOwnProgram = "/proc/self/exe";

// What this process was started with, its name first.
std::vector<std::string> own_arguments() {
  std::vector<std::string> arguments;
  const std::string line = read_file("/proc/self/cmdline");
  for (std::size_t begin = 0; begin < line.size();) {
    const std::size_t end = line.find('\0', begin);
    arguments.push_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return arguments;
}

// What tells the checkpoints that are at a place from those that a run leaves there.
std::string checkpoint_mark(const std::filesystem::path& place) {
  std::string mark;
  const auto add = [&mark](const std::filesystem::path& directory) {
    struct stat found {};
    if (::stat(directory.c_str(), &found) == 0) {
      mark += fmt::format("{} {}.{};", found.st_ino, found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
    }
  };
  if (!place.empty()) {
    add(place);
    for (const KeptCheckpoint& kept : kept_checkpoints(place)) {
      add(kept.path);
    }
  }
  return mark;
}

TeamRequest::Process team_process(int index, int num_processes, int num_ranks) {
  const int share = num_ranks / num_processes;
  const int first = index * share;
  return {.name = share == 1
                      ? fmt::format("process {} (rank {})", index, first)
                      : fmt::format("process {} (ranks {}-{})", index, first, first + share - 1),
          .environment = {fmt::format("HALFBACK_PROCESS={}", index),
                          fmt::format("HALFBACK_PROCESSES={}", num_processes)}};
}

void make_log_directory(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    throw FileError(fmt::format("{}: cannot make the directory: {}; choose another --log-dir",
                                directory, error.message()));
  }
}

// One start of all processes, from beginning to end.
TeamOutcome run_once(TeamRequest request, int restart, SignalQueue& signals) {
  const StoreServer store(kLoopback, 0);
  for (TeamRequest::Process& process : request.processes) {
    process.environment.push_back(fmt::format("HALFBACK_STORE={}:{}", kLoopback, store.port()));
    process.environment.push_back(fmt::format("HALFBACK_RESTART={}", restart));
  }
  return run_team(request, signals);
}

}  // namespace

void LaunchOptions::add_to(CLI::App& verb) {
  const auto add = [&verb](const char* name, auto& value, const char* help) {
    return verb.add_option(name, value, help)->group("Processes");
  };
  add("--processes", num_processes,
      "Processes of this machine to share the ranks out to (one, without any of its own)")
      ->type_name("P");
  add("--max-restarts", max_restarts,
      "Times that all processes start again after a failure, from the last checkpoint")
      ->type_name("K");
  add("--log-dir", log_directory, "Directory for what each process says")->type_name("DIR");
}

void LaunchOptions::check(const Launch& run) const {
  if (!num_processes) {
    require(max_restarts == 0 && log_directory.empty(),
            [] { return "--max-restarts and --log-dir are for the processes of --processes P"; });
    return;
  }
  require(*num_processes >= 1 && run.num_ranks % *num_processes == 0, [&] {
    return fmt::format(
        "--processes is {}; expected a number that divides the {} ranks of the "
        "schedule",
        *num_processes, run.num_ranks);
  });
  require(max_restarts >= 0,
          [&] { return fmt::format("--max-restarts is {}; expected 0 or more", max_restarts); });
  require(max_restarts == 0 || !run.checkpoint.empty(),
          [] { return "--max-restarts needs --checkpoint DIR, the directory to go on from"; });
  const World world = detect_world();
  require(world.launcher.empty() || world.is_of_own_launcher(), [&] {
    return fmt::format(
        "--processes {} in a process that {} has started; it starts processes of its "
        "own: leave it out, or start halfback without {}",
        *num_processes, world.launcher, world.launcher);
  });
  require(world.launcher.empty() || world.count == *num_processes, [&] {
    return fmt::format(
        "--processes is {} and HALFBACK_PROCESSES is {}; expected the same number, "
        "or one of them alone",
        *num_processes, world.count);
  });
}

bool LaunchOptions::are_for_launch() const {
  return num_processes && detect_world().launcher.empty();
}

int launch(const LaunchOptions& options, const Launch& run) {
  const int num_processes = *options.num_processes;
  TeamRequest request{
      .program = kOwnProgram, .arguments = own_arguments(), .log_directory = options.log_directory};
  for (int index = 0; index < num_processes; ++index) {
    request.processes.push_back(team_process(index, num_processes, run.num_ranks));
  }
  if (!options.log_directory.empty()) {
    make_log_directory(options.log_directory);
  }
  const std::vector<std::string> arguments = request.arguments;
  const std::string mark = checkpoint_mark(run.checkpoint);
  SignalQueue signals = team_signals();
  for (int restart = 0;; ++restart) {
    const TeamOutcome outcome = run_once(request, restart, signals);
    if (outcome.error.empty()) {
      return outcome.exit_code;
    }
    if (outcome.exit_code == 2) {
      throw ConfigError(outcome.error);
    }
    // What the first start refuses would be refused again.
    const bool repeats = outcome.exit_code == kRefusedExit && restart == 0;
    if (repeats || restart == options.max_restarts) {
      throw Error(outcome.error);
    }
    const std::string new_mark = checkpoint_mark(run.checkpoint);
    const bool resumes = run.resumes || (!new_mark.empty() && new_mark != mark);
    std::cerr << fmt::format(
        "restart {} of {}: {}\nrestart {} of {}: {}\n", restart + 1, options.max_restarts,
        outcome.error, restart + 1, options.max_restarts,
        resumes ? fmt::format("goes on from checkpoint {}", run.checkpoint.string())
                : "there is no checkpoint of this run yet, it begins anew");
    request.arguments = arguments;
    if (resumes) {
      request.arguments.emplace_back("--resume");
    }
  }
}

}  // namespace halfback::cli
