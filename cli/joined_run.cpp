#include "cli/joined_run.h"

#include "cli/config.h"
#include "cli/options.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"
#include "halfback/schedule/csv.h"
#include "halfback/train/checksum.h"
#include "halfback/transport/world.h"

#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace halfback::cli {

namespace {

// What may be another on every machine.
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
  values.emplace_back("schedule", fmt::format("{}, {}", headline(config.schedule),
                                              checksum(to_csv(config.schedule))));
  return values;
}

}  // namespace

std::shared_ptr<ProcessRun> join_run(const TrainingConfig& config, const CLI::App& verb) {
  const World world = detect_world();
  if (world.count == 1) {
    return nullptr;
  }
  auto run = std::make_shared<ProcessRun>(
      world, ProcessRun::Options{.num_ranks = config.schedule.num_ranks(),
                                 .channel_capacity = config.pipeline.channel_capacity,
                                 .timeout_seconds = config.pipeline.timeout_seconds});
  run->agree(common_values(config, verb));
  return run;
}

int ranks_on_this_host(int num_ranks) {
  const World world = detect_world();
  return world.local_count == 0 ? num_ranks
                                : std::max(1, num_ranks * world.local_count / world.count);
}

}  // namespace halfback::cli
