// For torch_exchange.py: writes every family of backpropagation with one replica of the weights,
// that has this kind of backward, as `halfback schedule` does and without its start. Prints, for
// each file, FILE FORMAT MICRO-BATCHES.
//
//   write_schedules DIRECTORY RANKS on|off FORMAT...      FORMAT: torch or torch-comm
#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/source.h"

#include <fmt/format.h>

#include <exception>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

namespace {

using halfback::Schedule;

std::optional<Schedule> built(const std::string& family, int num_ranks, bool two_stage) {
  try {
    return halfback::load_or_build(family, {.num_ranks = num_ranks, .two_stage = two_stage});
  } catch (const halfback::ConfigError&) {
    return std::nullopt;  // a family that exists with the other kind only
  }
}

std::string text_of(const Schedule& schedule, const std::string& format) {
  const Schedule written = format == "torch"
                               ? halfback::remove_communication(schedule)
                               : halfback::add_communication(schedule, halfback::kRendezvous);
  return halfback::to_csv(written, halfback::CsvDialect::Torch);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() < 4) {
    std::cerr << "usage: write_schedules DIRECTORY RANKS on|off FORMAT...\n";
    return 2;
  }
  const int num_ranks = std::stoi(arguments[1]);
  for (const halfback::Family& family : halfback::families()) {
    if (family.replicas != 1 || family.name.starts_with("local-")) {
      continue;
    }
    const auto schedule = built(family.name, num_ranks, arguments[2] == "on");
    for (std::size_t i = 3; schedule && i < arguments.size(); ++i) {
      const std::filesystem::path path =
          std::filesystem::path(arguments[0]) /
          fmt::format("{}_{}_{}_{}.csv", family.name, num_ranks, arguments[2], arguments[i]);
      halfback::write_file_atomically(path, text_of(*schedule, arguments[i]));
      std::cout << fmt::format("{} {} {}\n", path.string(), arguments[i],
                               schedule->num_micro_batches);
    }
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
