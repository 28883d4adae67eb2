// CPU seconds of the work on a schedule before it runs, by its size: build, add messages, verify,
// simulate. Prints JSON. One size per process, since the peak of memory is the process's.
#include "halfback/base/error.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/validate.h"
#include "halfback/simulate/simulator.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdint>
#include <ctime>
#include <functional>
#include <iostream>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace {

using halfback::Schedule;

// CPU time of the process, including the kernel. The ticks of a rusage's split are too coarse.
double cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::int64_t peak_bytes() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return std::int64_t{1024} * used.ru_maxrss;
}

struct Options {
  std::string family = "1f1b";
  halfback::PipelineShape shape{.num_ranks = 64, .num_micro_batches = 256};
  int rounds = 3;
};

// The times of one kind of work, one number per round.
class Stopwatch {
 public:
  void time(const std::function<void()>& work) {
    const double start = cpu_seconds();
    work();
    seconds_.push_back(cpu_seconds() - start);
  }
  const std::vector<double>& seconds() const { return seconds_; }

 private:
  std::vector<double> seconds_;
};

nlohmann::json measure(const Options& options) {
  Stopwatch build;
  Stopwatch add_messages;
  Stopwatch verify;
  Stopwatch capacity;
  Stopwatch simulate;
  nlohmann::json record;
  for (int round = 0; round < options.rounds; ++round) {
    Schedule schedule;
    Schedule lowered;
    build.time([&] { schedule = halfback::build_schedule(options.family, options.shape); });
    add_messages.time([&] { lowered = halfback::add_communication(schedule); });
    verify.time([&] { halfback::validate(lowered); });
    capacity.time([&] {
      record["smallest_channel_capacity"] = halfback::smallest_channel_capacity(lowered);
    });
    simulate.time([&] {
      const halfback::SimulationResult result =
          halfback::simulate(lowered, {}, {.validates = false, .keeps_timeline = false});
      record["makespan"] = result.makespan;
    });
    record["actions"] = halfback::num_actions(schedule);
    record["actions_with_messages"] = halfback::num_actions(lowered);
  }
  record["seconds"] = {{"build", build.seconds()},
                       {"add_messages", add_messages.seconds()},
                       {"verify", verify.seconds()},
                       {"capacity", capacity.seconds()},
                       {"simulate", simulate.seconds()}};
  record["ranks"] = options.shape.num_ranks;
  record["micro_batches"] = options.shape.num_micro_batches;
  record["peak_bytes"] = peak_bytes();
  return record;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Times what is done to a schedule before it runs");
  Options options;
  app.add_option("--family", options.family, "Family")->capture_default_str();
  app.add_option("--ranks", options.shape.num_ranks, "Ranks")->capture_default_str();
  app.add_option("--micro-batches", options.shape.num_micro_batches, "Micro-batches")
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "Rounds")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    std::cout << measure(options).dump() << '\n';
  } catch (const halfback::Error& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
