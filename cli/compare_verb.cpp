// halfback compare: the same steps under several schedules, with fused and with split backward.
#include "cli/options.h"
#include "cli/status_line.h"
#include "cli/training_options.h"
#include "cli/verbs.h"
#include "halfback/base/text.h"
#include "halfback/engine/runtime.h"
#include "halfback/measure/comparison.h"
#include "halfback/train/progress.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iostream>
#include <memory>

namespace halfback::cli {

namespace {

struct Options {
  TrainingOptions training;
  ComparisonRequest request{.schedules = {"naive", "gpipe", "1f1b-1", "1f1b-2"}};
  bool as_json = false;
};

void print_table(const std::vector<ComparisonRow>& rows) {
  std::size_t width = 14;
  for (const ComparisonRow& row : rows) {
    width = std::max(width, row.schedule.size());
  }
  std::cout << fmt::format("{:<{}} {:>3} {:>4} {:>17} {:>9} {:>8} {:>9} {:>9} {:>6} {:>14} {:>9}\n",
                           "schedule", width, "M", "2BP", "step ms",
                           rows.empty() ? "" : rows.front().item_name + "/s", "speed-up",
                           "predicted", "step/sim", "bubble", "activations", "bit-equal");
  for (const ComparisonRow& row : rows) {
    const auto most = std::max_element(row.activation_bytes.begin(), row.activation_bytes.end());
    std::cout << fmt::format(
        "{:<{}} {:>3} {:>4} {:>9.1f} +-{:>5.1f} {:>9} {:>8.3f} {:>9.3f} {:>9.3f} {:>6.3f} {:>10} "
        "r{:<2} {:>9}\n",
        row.schedule, width, row.num_micro_batches, row.two_stage ? "on" : "off",
        row.step_seconds * 1e3, row.spread_seconds * 1e3, format_count(row.items_per_second),
        row.speed_up, row.predicted_speed_up, row.step_over_simulated, row.bubble_fraction,
        format_bytes(*most), most - row.activation_bytes.begin(), row.is_bit_equal ? "yes" : "no");
  }
  std::cout
      << "\nM: micro-batches; step: median and half the quartile distance; speed-up over 2BP off;\n"
         "predicted: by the simulator with the measured costs of actions; step/sim: measured step\n"
         "over the simulated one; activations: peak of the rank that holds most.\n";
  for (const ComparisonRow& row : rows) {
    if (row.reduction_seconds > 0.0) {
      std::cout << fmt::format("{}, 2BP {}: gradients are summed in {:.1f} ms, {:.1f} exposed\n",
                               row.schedule, row.two_stage ? "on" : "off",
                               1e3 * row.reduction_seconds, 1e3 * row.exposed_reduction_seconds);
    }
  }
  if (!rows.empty() && rows.front().is_emulated) {
    std::cout << fmt::format(
        "EMULATED: {} ranks on {} cores; times are each action's own CPU time, replayed.\n",
        rows.front().num_ranks, num_cores());
  }
}

void print_json(const std::vector<ComparisonRow>& rows) {
  nlohmann::json document = nlohmann::json::array();
  for (const ComparisonRow& row : rows) {
    document.push_back({{"schedule", row.schedule},
                        {"ranks", row.num_ranks},
                        {"micro_batches", row.num_micro_batches},
                        {"two_stage", row.two_stage},
                        {"emulated", row.is_emulated},
                        {"step_seconds", row.step_seconds},
                        {"spread_seconds", row.spread_seconds},
                        {row.item_name + "_per_second", row.items_per_second},
                        {"speed_up", row.speed_up},
                        {"predicted_speed_up", row.predicted_speed_up},
                        {"step_over_simulated", row.step_over_simulated},
                        {"bubble_fraction", row.bubble_fraction},
                        {"reduction_seconds", row.reduction_seconds},
                        {"exposed_reduction_seconds", row.exposed_reduction_seconds},
                        {"activation_bytes", row.activation_bytes},
                        {"predicted_activation_bytes", row.predicted_activation_bytes},
                        {"bit_equal", row.is_bit_equal}});
  }
  std::cout << document.dump(2) << '\n';
}

void run(const Options& options) {
  ComparisonRequest request = options.request;
  request.channel_capacity = options.training.channel_capacity;
  StatusLine status;
  const auto rows = compare(options.training.config(), request, [&](auto done, auto total) {
    status.show(fmt::format("round {} of {}", done, total));
  });
  options.as_json ? print_json(rows) : print_table(rows);
}

}  // namespace

void add_compare_verb(CLI::App& app) {
  CLI::App* verb =
      app.add_subcommand("compare", "Run the same steps under several schedules, 2BP off and on");
  const auto options = std::make_shared<Options>();
  ComparisonRequest& request = options->request;
  add_option(*verb, "--schedules", request.schedules, "LIST", "Names or files, separated by commas")
      ->delimiter(',');
  add_option(*verb, "--ranks", request.shape.num_ranks, "N", "Ranks (4)");
  add_option(*verb, "--micro-batches", request.shape.num_micro_batches, "M",
             "Micro-batches per step (as each family's name says)");
  add_option(*verb, "--data-parallel", request.shape.num_pipelines, "D",
             "Pipelines that share a step, each with its own replica of the weights");
  add_two_stage(*verb, request.shape.two_stage, "Only the rows of this backward (both)");
  add_queues(*verb, request.shape.queues);
  add_family_parameters(*verb, request.shape.parameters);
  add_option(*verb, "--rounds", request.rounds.num_measured, "N", "Measured steps per row");
  add_option(*verb, "--warmup-rounds", request.rounds.num_warmup, "N",
             "Steps before the measured ones");
  verb->add_flag("--json", options->as_json, "Print JSON");
  options->training.add_to(*verb);
  verb->footer(
      "Examples: halfback compare --schedules gpipe,1f1b-1 --ranks 2 --rounds 20\n"
      "          halfback compare --schedules backprop,greedy,chunked --chunks 2 --clip 0");
  verb->callback([options] { run(*options); });
}

}  // namespace halfback::cli
