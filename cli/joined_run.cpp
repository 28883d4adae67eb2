#include "cli/joined_run.h"

#include "cli/config.h"
#include "cli/options.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/checksum.h"
#include "halfback/launch/launcher.h"
#include "halfback/schedule/csv.h"
#include "halfback/transport/world.h"
#include "halfback/views/headline.h"

#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halfback::cli {

namespace {

// Options that may differ on every machine.
constexpr std::array kOwnOptions = {"data", "report", "log-dir", "checkpoint", "initial"};

std::string checksum(std::string_view bytes) {
  FileSummary summary;
  summary.add(bytes);
  return fmt::format("checksum {:08x}", summary.crc32);
}

std::vector<std::pair<std::string, std::string>> common_values(const TrainingConfig& config,
                                                               const CLI::App& verb) {
  std::vector<std::pair<std::string, std::string>> values = {
      {"program", fmt::format("halfback " HALFBACK_VERSION ", torch " TORCH_VERSION ", {}",
                              checksum(read_file("/proc/self/exe")))}};
  const std::string toml = to_toml(verb);
  for (const std::string_view line : split(trim(toml), '\n')) {
    const std::size_t end = line.find(" = ");
    const std::string_view name = line.substr(0, end);
    if (std::find(kOwnOptions.begin(), kOwnOptions.end(), name) == kOwnOptions.end()) {
      values.emplace_back(fmt::format("--{}", name), line.substr(end + 3));
    }
  }
  values.emplace_back("schedule", fmt::format("{}, {}", headline(*config.schedule),
                                              checksum(to_csv(*config.schedule))));
  return values;
}

}  // namespace

std::shared_ptr<ProcessRun> join_run(const TrainingConfig& config, const CLI::App& verb) {
  const World world = detect_world();
  if (world.count == 1) {
    return nullptr;
  }
  auto run = std::make_shared<ProcessRun>(
      world,
      ProcessRun::Options{.num_ranks = config.schedule->num_ranks(),
                          .channel_capacity = config.schedule.channel_capacity(),
                          .timeout_seconds = config.pipeline.timeout_seconds,
                          .on_wait = [](const std::string& text) { std::cerr << text + "\n"; }});
  run->agree(common_values(config, verb));
  return run;
}

void prepare(ProcessRun* run, const std::function<void()>& work) {
  if (run != nullptr) {
    run->prepare(work);
  } else if (const auto refusal = refusal_of(work)) {
    throw RefusedError(*refusal);
  }
}

int print_refusal(const RefusedError& error) {
  const World world = detect_world();
  const bool has_launcher = world.is_of_own_launcher();  // which reports each error once
  if (world.index == 0 || has_launcher) {
    std::cerr << "error: " << error.what() << '\n';
  }
  constexpr int kUsage = 2;
  constexpr int kFailure = 1;
  return error.is_usage() ? kUsage : has_launcher ? kRefusedExit : kFailure;
}

int ranks_on_this_host(int num_ranks) {
  const World world = detect_world();
  return world.local_count == 0 ? num_ranks
                                : std::max(1, num_ranks * world.local_count / world.count);
}

}  // namespace halfback::cli
