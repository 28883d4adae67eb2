#include "cli/launch_options.h"

#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/launch/launcher.h"
#include "halfback/transport/processes.h"
#include "halfback/transport/store.h"
#include "halfback/transport/world.h"

#include <fmt/format.h>

#include <iostream>
#include <sys/stat.h>
#include <utility>
#include <vector>

namespace halfback::cli {

namespace {

constexpr const char* kLoopback = "127.0.0.1";

void require(bool holds, const std::string& text) {
  if (!holds) {
    throw ConfigError(text);
  }
}

// The arguments of this process, with its name first.
std::vector<std::string> own_arguments() {
  std::string line = read_file("/proc/self/cmdline");
  line.pop_back();  // each ends with a zero
  const std::vector<std::string_view> parts = split(line, '\0');
  return {parts.begin(), parts.end()};
}

// Distinguishes the checkpoints that are there now from those that a run will leave.
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

}  // namespace

void LaunchOptions::add_to(CLI::App& verb) {
  const auto add = [&verb](const char* name, auto& value, const char* help) {
    return verb.add_option(name, value, help)->group("Processes");
  };
  add("--processes", num_processes,
      "Processes on this machine to spread the ranks over (none: all ranks in this process)")
      ->type_name("P");
  add("--max-restarts", max_restarts,
      "How often all processes restart from the last checkpoint after a failure")
      ->type_name("K");
  add("--log-dir", log_directory, "Directory for the output of each process")->type_name("DIR");
}

void LaunchOptions::check(const LaunchedRun& run) const {
  if (!num_processes) {
    require(max_restarts == 0 && log_directory.empty(),
            "--max-restarts and --log-dir are for the processes of --processes P");
    return;
  }
  require(
      *num_processes >= 1 && run.num_ranks % *num_processes == 0,
      fmt::format("--processes is {}; expected a number that divides the {} ranks of the schedule",
                  *num_processes, run.num_ranks));
  require(max_restarts >= 0, fmt::format("--max-restarts is {}; expected 0 or more", max_restarts));
  require(max_restarts == 0 || !run.checkpoint.empty(),
          "--max-restarts needs --checkpoint DIR, the directory to resume from");
  const World world = detect_world();
  require(world.launcher.empty() || world.is_of_own_launcher(),
          fmt::format("--processes {} in a process that {} has started; it starts processes of its "
                      "own: leave it out, or start halfback without {}",
                      *num_processes, world.launcher, world.launcher));
  require(world.launcher.empty() || world.count == *num_processes,
          fmt::format("--processes is {} and HALFBACK_PROCESSES is {}; expected the same number, "
                      "or one of them alone",
                      *num_processes, world.count));
}

bool LaunchOptions::are_for_launch() const {
  return num_processes && detect_world().launcher.empty();
}

int LaunchOptions::launch(const LaunchedRun& run) const {
  const std::string mark = checkpoint_mark(run.checkpoint);
  const auto on_restart = [&](int restart, const std::string& failure) {
    const std::string new_mark = checkpoint_mark(run.checkpoint);
    const bool resumes = run.resumes || (!new_mark.empty() && new_mark != mark);
    std::cerr << fmt::format(
        "restart {0} of {1}: {2}\nrestart {0} of {1}: {3}\n", restart, max_restarts, failure,
        resumes ? fmt::format("resuming from checkpoint {}", run.checkpoint.string())
                : "this run has no checkpoint yet; restarting from step 0");
    return resumes ? std::vector<std::string>{"--resume"} : std::vector<std::string>();
  };
  std::optional<StoreServer> store;  // of one start
  const auto serve_store = [&store] {
    store.reset();
    store.emplace(kLoopback, 0);
    return fmt::format("HALFBACK_STORE={}:{}", kLoopback, store->port());
  };
  TeamRequest team{.program = kOwnProgram,
                   .arguments = own_arguments(),
                   .processes = {},
                   .log_directory = log_directory};
  for (int index = 0; index < *num_processes; ++index) {
    team.processes.push_back({process_name(index, *num_processes, run.num_ranks), {}});
  }
  return halfback::launch({.team = std::move(team),
                           .max_restarts = max_restarts,
                           .make_meeting_place = serve_store,
                           .on_restart = on_restart});
}

}  // namespace halfback::cli
