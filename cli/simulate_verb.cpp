// halfback simulate NAME or FILE: when a schedule would run, and what it would hold.
#include "cli/options.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/chrome_trace.h"
#include "halfback/timeline/text_grid.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>
#include <optional>

namespace halfback::cli {

namespace {

struct Options {
  ScheduleOptions schedule;
  std::string cost;
  std::string cost_file;
  std::optional<double> latency;
  std::string format = "grid";
};

CostModel costs_of(const Options& options) {
  if (!options.cost.empty() && !options.cost_file.empty()) {
    throw ConfigError("simulate: --cost and --cost-file are both given; one of them");
  }
  CostModel costs = options.cost_file.empty()
                        ? parse_costs(options.cost.empty() ? "1,1,1" : options.cost)
                        : load_costs(options.cost_file);
  costs.latency = options.latency.value_or(costs.latency);
  return costs;
}

void print_grid(const Schedule& schedule, const SimulationResult& result) {
  std::cout << headline(schedule) << '\n' << draw_timeline(result.timeline);
  std::cout << fmt::format("\nmakespan {:.6g}, bubble fraction {:.3f}\n\n", result.makespan,
                           result.bubble_fraction);
  std::cout << fmt::format("{:>4} {:>12} {:>9} {:>9} {:>10}\n", "rank", "busy", "until I",
                           "until W", "gradients");
  for (std::size_t rank = 0; rank < result.busy.size(); ++rank) {
    const HeldPeaks& held = result.held[rank];
    std::cout << fmt::format("{:>4} {:>12.6g} {:>9} {:>9} {:>10}\n", rank, result.busy[rank],
                             held.until_input, held.until_weight, held.gradients);
  }
  std::cout << "\nuntil I, until W, gradients: most micro-batches held for I, for W, and as stored "
               "gradients.\n";
}

void print_json(const Schedule& schedule, const SimulationResult& result) {
  nlohmann::json ranks = nlohmann::json::array();
  for (std::size_t rank = 0; rank < result.busy.size(); ++rank) {
    const HeldPeaks& held = result.held[rank];
    ranks.push_back({{"busy", result.busy[rank]},
                     {"held_until_input", held.until_input},
                     {"held_until_weight", held.until_weight},
                     {"held_gradients", held.gradients}});
  }
  const nlohmann::json document = {{"name", schedule.name},
                                   {"micro_batches", schedule.num_micro_batches},
                                   {"two_stage", is_two_stage(schedule)},
                                   {"makespan", result.makespan},
                                   {"bubble_fraction", result.bubble_fraction},
                                   {"ranks", std::move(ranks)}};
  std::cout << document.dump(2) << '\n';
}

void run(const Options& options) {
  require_choice("--format", options.format, {"grid", "json", "trace"});
  const CostModel costs = costs_of(options);
  const Schedule schedule = options.schedule.load();
  const SimulationResult result = simulate(schedule, costs);
  if (options.format == "trace") {
    std::cout << to_chrome_trace(result.timeline);
  } else if (options.format == "json") {
    print_json(schedule, result);
  } else {
    print_grid(schedule, result);
  }
}

}  // namespace

void add_simulate_verb(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("simulate", "Simulate a schedule: time and what is held");
  const auto options = std::make_shared<Options>();
  options->schedule.add_to(*verb);
  verb->add_option("--cost", options->cost,
                   "Times of F, I, W and if given B, for all stages (1,1,1)")
      ->type_name("f,i,w[,b]");
  verb->add_option("--cost-file", options->cost_file, "JSON file with the times of each stage")
      ->type_name("FILE");
  verb->add_option("--latency", options->latency, "Time of a hop between two ranks (0)")
      ->type_name("TIME");
  verb->add_option("--format", options->format, "grid, json, or trace (Chrome, Perfetto)")
      ->type_name("FORMAT");
  verb->footer("Example: halfback simulate 1f1b-2 --ranks 4 --cost 1,1,0.5 --latency 0.1");
  verb->callback([options] { run(*options); });
}

}  // namespace halfback::cli
