// halfback schedule NAME: builds a schedule and prints it.
#include "cli/options.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/text_grid.h"
#include "halfback/views/headline.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>
#include <iterator>
#include <memory>

namespace halfback::cli {

namespace {

struct Options {
  ScheduleOptions schedule;
  FormatOption format;
  std::string cost = "1,1,1";
};

void print_families() {
  const auto print = [](const auto&... columns) {
    std::cout << fmt::format("{:<18} {:<24} {:<26} {:<16} {:<8} {}\n", columns...);
  };
  print("name", "N ranks, M micro-batches", "idle", "peak", "messages", "weights");
  for (const Family& family : families()) {
    print(family.name, family.conditions, family.idle, family.peak_memory, family.messages,
          family.replicas);
  }
  std::cout << "\n";
  for (const Family& family : families()) {
    std::cout << fmt::format("{:<18} {}{}{}\n", family.name, family.summary,
                             family.paper.empty() ? "" : "; ", family.paper);
  }
  std::cout << R"(
N ranks with v stages each; "split": needs the split backward. Idle: idle time of a rank in a
step whose work takes 3M, with the split backward, F = I = W = 1 on 1/N of the model and no
communication; "a rank": from its own begin to its own end. Peak: micro-batches that a rank
holds until their W, counted on 1/N of the model. Messages: per micro-batch. Weights: replicas
of the weights, D times as many with --data-parallel D.
)";
}

nlohmann::json to_json(const Family& family) {
  return {{"name", family.name},         {"conditions", family.conditions},
          {"idle", family.idle},         {"peak", family.peak_memory},
          {"messages", family.messages}, {"weights", family.replicas},
          {"summary", family.summary},   {"paper", family.paper}};
}

void list_families(const std::string& format) {
  if (format == "json") {
    nlohmann::json all;
    std::ranges::transform(families(), std::back_inserter(all),
                           [](const Family& one) { return to_json(one); });
    std::cout << all.dump() << '\n';
    return;
  }
  if (format != "grid") {
    throw ConfigError(fmt::format(
        "--format {} of 'list'; expected json or none; leave it out, or name a schedule", format));
  }
  print_families();
}

std::string to_json(const Schedule& schedule) {
  nlohmann::json ranks = nlohmann::json::array();
  for (const auto& list : schedule.ranks) {
    nlohmann::json& row = ranks.emplace_back(nlohmann::json::array());
    for (const Action& action : list) {
      row.push_back(to_string(action));
    }
  }
  const nlohmann::json document = {{"name", schedule.name},
                                   {"micro_batches", schedule.num_micro_batches},
                                   {"placement", schedule.placement.replicas},
                                   {"replicas", schedule.placement.replica_of_micro_batch},
                                   {"losses", losses_text(schedule.losses)},
                                   {"weights", to_string(schedule.losses.weight_rule())},
                                   {"ranks", std::move(ranks)}};
  return document.dump() + '\n';
}

std::string to_grid(const Schedule& schedule, const std::string& cost, bool with_numbers) {
  const CostModel costs = uniform_costs(parse_costs(cost).stages.front(), schedule);
  const Timeline timeline = simulate(schedule, costs, {.validates = false}).timeline;
  const std::string grid =
      with_numbers ? draw_numbered_timeline(timeline) : draw_timeline(timeline);
  return headline(schedule) + '\n' + for_terminal(grid);
}

void run(const Options& options) {
  const std::string format = options.format.name();
  if (options.schedule.source == "list") {
    return list_families(format);
  }
  const Schedule schedule = options.schedule.load(true, share_times(parse_costs(options.cost), 1));
  if (format == "csv") {
    std::cout << to_csv(schedule);
  } else if (format == "torch") {
    std::cout << to_csv(remove_communication(schedule), CsvDialect::Torch);
  } else if (format == "torch-comm") {
    std::cout << to_csv(with_messages(schedule, kRendezvous), CsvDialect::Torch);
  } else if (format == "json") {
    std::cout << to_json(schedule);
  } else {
    std::cout << to_grid(schedule, options.cost, format == "numbers");
  }
}

}  // namespace

void add_schedule_verb(CLI::App& app) {
  CLI::App* verb = app.add_subcommand(
      "schedule", "Build a schedule and print it; 'schedule list' prints all families");
  const auto options = std::make_shared<Options>();
  options->schedule.add_to(*verb);
  options->format.add_to(
      *verb, {"grid", "numbers", "csv", "torch", "torch-comm", "json"},
      "grid, numbers (grid with micro-batches), csv, torch (PyTorch's dialect), torch-comm (with "
      "messages) or json");
  add_option(*verb, "--cost", options->cost, "f,i,w[,b]",
             "Times of F, I, W and, optionally, B for the grids, for 1/N of the model on N ranks");
  verb->footer("Example: halfback schedule 1f1b-1 --ranks 4 --format csv > plan.csv");
  verb->callback([options] { run(*options); });
}

}  // namespace halfback::cli
