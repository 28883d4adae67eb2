// halfback profile: what the stages of a model cost, as a file for halfback simulate --cost-file.
#include "cli/options.h"
#include "cli/status_line.h"
#include "cli/training_options.h"
#include "cli/verbs.h"
#include "halfback/base/file.h"
#include "halfback/base/option.h"
#include "halfback/base/text.h"
#include "halfback/measure/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace halfback::cli {

namespace {

struct Options {
  TrainingOptions training;
  int num_ranks = 4;
  int stages_per_rank = 1;
  std::optional<std::string> losses;
  Rounds rounds;
  std::string output;
  bool as_json = false;
};

// A stage with the gradients of several losses has no B, and an I of its own loss beside the
// others.
void print_times(const Profile& found) {
  std::vector<std::pair<ActionKind, bool>> columns = {{ActionKind::Forward, false},
                                                      {ActionKind::BackwardInput, false},
                                                      {ActionKind::BackwardWeight, false},
                                                      {ActionKind::Backward, false},
                                                      {ActionKind::Update, false}};
  if (std::ranges::any_of(found.costs, &ActionCost::is_of_own_loss)) {
    columns.insert(columns.begin() + 2, {ActionKind::BackwardInput, true});
  }
  std::string head = fmt::format("{:<5}", "stage");
  for (const auto& [kind, is_of_own_loss] : columns) {
    head += fmt::format(" {:>17}",
                        fmt::format("{}{} ms", is_of_own_loss ? "own loss's " : "", letters(kind)));
  }
  std::cout << head << '\n';
  for (std::size_t stage = 0; stage < found.file.costs.stages.size(); ++stage) {
    std::string line = fmt::format("{:>5}", stage);
    for (const auto& [kind, is_of_own_loss] : columns) {
      const auto cost = std::ranges::find_if(found.costs, [&](const ActionCost& one) {
        return one.stage == static_cast<int>(stage) && one.kind == kind &&
               one.is_of_own_loss == is_of_own_loss;
      });
      line += cost == found.costs.end()
                  ? fmt::format(" {:>17}", "-")
                  : fmt::format(" {:>8.3f} +-{:>6.3f}", cost->median_seconds * 1e3,
                                cost->spread_seconds * 1e3);
    }
    std::cout << line << '\n';
  }
}

void print_bytes(const MemoryModel& memory) {
  std::cout << fmt::format("\n{:<5} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11}\n", "stage",
                           "until I", "until W", "gradients", "activation", "gradient",
                           "parameters", "optimizer");
  for (std::size_t stage = 0; stage < memory.stages.size(); ++stage) {
    const StageBytes& bytes = memory.stages[stage];
    const StateBytes& state = memory.states[stage];
    std::cout << fmt::format("{:>5} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11}\n", stage,
                             format_bytes(bytes.until_input), format_bytes(bytes.until_weight),
                             format_bytes(bytes.gradients), format_bytes(bytes.activation_message),
                             format_bytes(bytes.gradient_message),
                             format_bytes(state.parameters + state.gradients),
                             format_bytes(state.optimizer));
  }
}

void print_table(const Profile& found, const Rounds& rounds) {
  const TrainingConfig& config = found.config;
  std::cout << fmt::format(
      "model: {}\nmicro-batch: {} {}; threads: {}; rounds: {} after {}\n\n", describe(config.model),
      config.micro_batch_size * items_per_sample(config.model), item_name(config.model),
      config.pipeline.threads_per_rank, rounds.num_measured, rounds.num_warmup);
  print_times(found);
  print_bytes(*found.file.memory);
  std::cout
      << "\nOf one micro-batch: medians and half the quartile distances; U is the update of a "
         "step.\n"
         "until I, until W: kept by F for I and for W; gradients: kept by I for W; activation,\n"
         "gradient: messages that the stage takes. parameters: with their gradients.\n";
}

// Throws ConfigError for a file that is not exactly as profile writes it.
void require_replaceable(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  bool is_own = !std::filesystem::exists(status) || std::filesystem::is_other(status);
  if (std::filesystem::is_regular_file(status)) {
    try {
      const std::string text = read_file(path);
      is_own = text.empty() || text == to_cost_file(parse_cost_file(text, path));
    } catch (const Error&) {
      is_own = false;
    }
  }
  if (!is_own) {
    throw ConfigError(fmt::format(
        "--output {}: is not a file of costs as profile writes it, and would be replaced; move it "
        "away or choose another name",
        path));
  }
}

void run(const Options& options) {
  if (!options.output.empty()) {
    require_replaceable(options.output);
    const AtomicFile refused_before_measuring(options.output);
  }
  constexpr int kMost = 1 << 10;
  require_option(options.num_ranks >= 1 && options.num_ranks <= kMost, "ranks", options.num_ranks,
                 "1 to 1024");
  require_option(options.stages_per_rank >= 1 && options.stages_per_rank <= kMost,
                 "stages-per-rank", options.stages_per_rank, "1 to 1024");
  const int num_stages = options.num_ranks * options.stages_per_rank;
  StatusLine status;
  const Profile found = profile(
      options.training.config(),
      {.num_ranks = options.num_ranks,
       .num_stages = num_stages,
       .losses = options.losses ? read_losses(*options.losses, num_stages) : Losses(),
       .rounds = options.rounds},
      [&](auto done, auto total) { status.show(fmt::format("round {} of {}", done, total)); });
  if (options.as_json) {
    std::cout << to_cost_file(found.file);
  } else {
    print_table(found, options.rounds);
  }
  if (!options.output.empty()) {
    save_cost_file(found.file, options.output);
    if (!options.as_json) {
      std::cout << fmt::format(
          "\ncosts: {0} (halfback simulate SCHEDULE --ranks {1} --cost-file {0})\n", options.output,
          options.num_ranks);
    }
  }
}

}  // namespace

void add_profile_verb(CLI::App& app) {
  CLI::App* verb = app.add_subcommand(
      "profile", "Measure the time and memory of a model's stages, as input for simulate");
  const auto options = std::make_shared<Options>();
  add_option(*verb, "--ranks", options->num_ranks, "N", "Ranks that the model will run on");
  add_option(*verb, "--stages-per-rank", options->stages_per_rank, "V", "Stages per rank");
  add_losses(*verb, options->losses);
  add_option(*verb, "--rounds", options->rounds.num_measured, "N", "Measured rounds");
  add_option(*verb, "--warmup-rounds", options->rounds.num_warmup, "N",
             "Rounds before the measured ones");
  add_option(*verb, "--output", options->output, "FILE",
             "File to write, for simulate --cost-file: times in seconds and bytes of each stage");
  verb->add_flag("--json", options->as_json, "Print that file instead of a table");
  options->training.add_to(*verb);
  verb->footer(
      "Stages run one after the other, so --ranks may exceed the number of cores.\n"
      "Example: halfback profile --ranks 8 --layers 16 --output costs.json\n"
      "         halfback simulate zb-h1 --ranks 8 --cost-file costs.json\n"
      "         halfback profile --ranks 4 --losses 0:0,1:1,2:2,3:3 --output greedy.json\n"
      "         halfback simulate greedy --ranks 4 --cost-file greedy.json");
  verb->callback([options] { run(*options); });
}

}  // namespace halfback::cli
