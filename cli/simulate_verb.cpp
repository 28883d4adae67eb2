// halfback simulate NAME or FILE: when a schedule would run, and what it would hold.
#include "cli/options.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/simulate/cost_file.h"
#include "halfback/timeline/chrome_trace.h"
#include "halfback/timeline/report/svg.h"
#include "halfback/timeline/text_grid.h"
#include "halfback/views/headline.h"
#include "halfback/views/page.h"
#include "halfback/views/simulation.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <iostream>
#include <memory>
#include <optional>
#include <utility>

namespace halfback::cli {

namespace {

struct Options {
  ScheduleOptions schedule;
  std::string cost;
  std::optional<double> reduce_cost;
  std::string cost_file;
  std::string memory_file;
  std::optional<double> latency;
  std::optional<double> bandwidth;
  std::string channel = "buffered";
  FormatOption format;
  std::optional<int> repeat;
};

// Returns the given costs. If all stages of any schedule have the same, they are those of a share.
CostFile given_costs(const Options& options) {
  if (!options.cost.empty() && !options.cost_file.empty()) {
    throw ConfigError("simulate: --cost and --cost-file are both given; leave one of them out");
  }
  if (options.reduce_cost && !options.cost_file.empty()) {
    throw ConfigError(
        "simulate: --reduce-cost beside --cost-file; give its stages reduce or reduce_bytes");
  }
  CostFile file;
  if (options.cost_file.empty()) {
    file.costs = parse_costs(options.cost.empty() ? "1,1,1" : options.cost);
    file.costs.stages.front().reduce = options.reduce_cost.value_or(0.0);
  } else {
    file = load_cost_file(options.cost_file);
  }
  return file;
}

Simulation simulate_request(const Options& options) {
  SimulationRequest request{.costs = given_costs(options),
                            .costs_are_share = options.cost_file.empty(),
                            .latency = options.latency,
                            .bandwidth = options.bandwidth,
                            .channel = parse_channel_rule(options.channel),
                            .repeat = options.repeat,
                            .keeps_timeline = options.format.name() != "json"};
  CostModel times = request.costs.costs;
  times.latency = options.latency.value_or(times.latency);
  Schedule schedule = options.schedule.load(
      true, share_times(times, options.schedule.request.num_ranks.value_or(kDefaultRanks)));
  if (!options.memory_file.empty()) {
    request.memory = load_memory_file(options.memory_file);
  }
  return simulate_all(std::move(schedule), request);
}

void print_times(const Simulation& done) {
  const SimulationResult& result = done.result;
  std::cout << fmt::format("\nmakespan {:.6g}, bubble fraction {:.3f}\n", result.makespan,
                           result.bubble_fraction);
  std::cout << fmt::format("stage step {:.6g}, bubble fraction {:.3f}\n", result.stage_step,
                           result.stage_step_bubble_fraction);
  if (done.steady) {
    std::cout << fmt::format("steady step {:.6g}, bubble fraction {:.3f}\n", done.steady->period,
                             done.steady->bubble_fraction);
  }
  const bool with_reductions = done.reduces();
  std::cout << fmt::format("\n{:>4} {:>12} {:>9} {:>9} {:>10} {:>9}{}\n", "rank", "busy", "until I",
                           "until W", "gradients", "M_B",
                           with_reductions ? "  reducing   exposed" : "");
  for (std::size_t rank = 0; rank < result.busy.size(); ++rank) {
    const Kept& held = result.held[rank];
    std::cout << fmt::format("{:>4} {:>12.6g} {:>9} {:>9} {:>10} {:>9.6g}", rank, result.busy[rank],
                             held.until_input, held.until_weight, held.gradients,
                             done.activation_peaks[rank]);
    if (with_reductions) {
      std::cout << fmt::format(" {:>9.6g} {:>9.6g}", done.statistics.reduction_seconds[rank],
                               done.statistics.exposed_reduction_seconds[rank]);
    }
    std::cout << '\n';
  }
  if (done.steady) {
    std::cout << "\nsteady step: period of as many steps again, after these.";
  }
  std::cout << "\nstage step: longest time of one rank, from its first start to its last end.\n"
               "until I, until W, gradients: most micro-batches held for I, for W, and as "
               "stored\ngradients. M_B: until W, in what one micro-batch keeps on 1/N of the "
               "model.\n";
  if (with_reductions) {
    std::cout << "reducing: time in which gradients are summed over replicas; exposed: the part\n"
                 "of it in which the rank computes nothing.\n";
  }
}

void print_memory(const Simulation& done) {
  std::cout << fmt::format("\n{:>4} {:>13} {:>11} {:>11} {:>11} {:>11} {:>13}\n", "rank",
                           "constant", "until I", "until W", "gradients", "messages", "total");
  for (std::size_t rank = 0; rank < done.constant.size(); ++rank) {
    const MemoryParts& parts = done.prediction.at_peak[rank];
    std::cout << fmt::format("{:>4} {:>13} {:>11} {:>11} {:>11} {:>11} {:>13}\n", rank,
                             done.constant[rank].total(), parts.until_input, parts.until_weight,
                             parts.gradients, parts.messages,
                             done.constant[rank].total() + parts.total());
  }
  std::cout
      << "\nBytes. constant: parameters, their gradients and optimizer state. The rest: what\n"
         "is held beside them when it is most, for I, for W, as stored gradients and as\n"
         "messages; total: all of it.\n";
}

void print_grid(const Simulation& done) {
  std::cout << headline(done.schedule) << '\n' << for_terminal(draw_timeline(done.result.timeline));
  if (done.messages_added) {
    std::cout << "(with sends and receives added, for channels that hold up their ranks)\n";
  }
  print_times(done);
  if (done.memory) {
    print_memory(done);
  }
}

nlohmann::json memory_json(const StateBytes& constant, const MemoryParts& at_peak) {
  return {{"parameters", constant.parameters},
          {"parameter_gradients", constant.gradients},
          {"optimizer", constant.optimizer},
          {"total", constant.total() + at_peak.total()},
          {"peak", at_peak.total()},
          {"until_input", at_peak.until_input},
          {"until_weight", at_peak.until_weight},
          {"gradients", at_peak.gradients},
          {"messages", at_peak.messages}};
}

void print_json(const Simulation& done) {
  const SimulationResult& result = done.result;
  nlohmann::json ranks = nlohmann::json::array();
  for (std::size_t rank = 0; rank < result.busy.size(); ++rank) {
    const Kept& held = result.held[rank];
    nlohmann::json& entry = ranks.emplace_back();
    entry = {{"busy", result.busy[rank]},
             {"held_until_input", held.until_input},
             {"held_until_weight", held.until_weight},
             {"held_gradients", held.gradients},
             {"activation_peak", done.activation_peaks[rank]}};
    if (done.reduces()) {
      entry["reduction"] = done.statistics.reduction_seconds[rank];
      entry["exposed_reduction"] = done.statistics.exposed_reduction_seconds[rank];
    }
    if (done.memory) {
      entry["memory"] = memory_json(done.constant[rank], done.prediction.at_peak[rank]);
    }
  }
  nlohmann::json document = {{"name", done.schedule.name},
                             {"micro_batches", done.schedule.num_micro_batches},
                             {"stages", done.schedule.num_stages()},
                             {"replicas", done.schedule.placement.num_replicas()},
                             {"two_stage", is_two_stage(done.schedule)},
                             {"messages_added", done.messages_added},
                             {"makespan", result.makespan},
                             {"bubble_fraction", result.bubble_fraction},
                             {"stage_step", result.stage_step},
                             {"stage_step_bubble_fraction", result.stage_step_bubble_fraction},
                             {"ranks", std::move(ranks)}};
  if (done.steady) {
    document["steady_step"] = done.steady->period;
    document["steady_step_bubble_fraction"] = done.steady->bubble_fraction;
  }
  std::cout << document.dump(2) << '\n';
}

void run(const Options& options) {
  const std::string format = options.format.name();
  const Simulation done = simulate_request(options);
  if (format == "trace") {
    std::cout << to_chrome_trace(done.result.timeline);
  } else if (format == "svg") {
    std::cout << to_svg(done.result.timeline, headline(done.schedule));
  } else if (format == "html") {
    std::cout << to_html(simulated_page(done.schedule, done.costs, done.options, done.memory));
  } else if (format == "json") {
    print_json(done);
  } else {
    print_grid(done);
  }
}

}  // namespace

void add_simulate_verb(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("simulate", "Simulate a schedule: time and memory");
  const auto options = std::make_shared<Options>();
  options->schedule.add_to(*verb);
  add_option(*verb, "--cost", options->cost, "f,i,w[,b]",
             "Times of F, I, W and, optionally, B (1,1,1) for 1/N of the model on N ranks; with S "
             "stages, each takes N/S of them");
  add_option(*verb, "--reduce-cost", options->reduce_cost, "TIME",
             "Time to sum the gradients of 1/N of the model over replicas (0)");
  add_option(*verb, "--cost-file", options->cost_file, "FILE",
             "JSON file with the times of each stage and, optionally, its memory, links and speeds "
             "of ranks");
  add_option(*verb, "--latency", options->latency, "TIME",
             "Latency of a message between two ranks (0)");
  add_option(*verb, "--bandwidth", options->bandwidth, "RATE",
             "Bytes per unit of time between two ranks (unlimited); message sizes come from "
             "--cost-file or --memory-file");
  add_option(*verb, "--channel", options->channel, "RULE",
             "Capacity of a channel: buffered, rendezvous or a number of messages");
  add_option(*verb, "--memory-file", options->memory_file, "FILE",
             "JSON file with the bytes of each stage; adds a table of bytes");
  add_option(*verb, "--repeat", options->repeat, "STEPS",
             "Simulate this many steps back to back, each stage updating on its own; needs U in "
             "the schedule, as --stage-updates on gives");
  options->format.add_to(*verb, {"grid", "json", "trace", "svg", "html"},
                         "grid, json, trace (Chrome, Perfetto), svg, or html (a page)");
  verb->footer("Example: halfback simulate zb-v --ranks 8 --latency 0.1 --format html > zb-v.html");
  verb->callback([options] { run(*options); });
}

}  // namespace halfback::cli
