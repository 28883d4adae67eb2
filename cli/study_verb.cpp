// halfback study: runs of train that differ in some options, side by side, as rows and tables.
#include "cli/config.h"
#include "cli/launch_options.h"
#include "cli/run_options.h"
#include "cli/status_line.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/option.h"
#include "halfback/engine/runtime.h"
#include "halfback/launch/jobs.h"
#include "halfback/launch/process_team.h"
#include "halfback/measure/first_layer.h"
#include "halfback/measure/study_run.h"
#include "halfback/study/missed_target.h"
#include "halfback/study/rows.h"
#include "halfback/study/study_file.h"
#include "halfback/study/study_page.h"
#include "halfback/study/study_table.h"
#include "halfback/train/progress.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback::cli {

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string file;
  std::string output;
  int num_jobs = 0;
  std::vector<std::string> only;
  std::optional<int> run;
  bool is_dry_run = false;
};

// "run 3 (scheme greedy, seed 2)".
std::string name_of(const StudyRun& run) {
  const std::string place = place_text(run.place);
  return fmt::format("run {}{}", run.number, place.empty() ? "" : " (" + place + ")");
}

// As one word of a shell.
std::string quoted(const std::string& text) {
  std::string word = "'";
  for (const char c : text) {
    word += c == '\'' ? "'\\''" : std::string(1, c);
  }
  return word + "'";
}

// For a shell.
std::string command_of(const StudyRun& run) {
  std::string command = "halfback train";
  for (const auto& [option, value] : run.settings) {
    const bool is_plain = !value.empty() && std::ranges::all_of(value, [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
             std::strchr("-_./,:+%@", c) != nullptr;
    });
    command += fmt::format(" --{}={}", option, is_plain ? value : quoted(value));
  }
  return command;
}

// Reads the options of a run as train would from its command line. A checkpoint to start from and
// a tokenizer to learn make it whole.
enum class Whole { No, Yes };
TrainingConfig config_of(const StudyRun& run, Whole whole) {
  CLI::App train;
  train.name("train");
  train.option_defaults()->always_capture_default();
  RunOptions options;
  options.add_to(train);
  std::vector<std::string> arguments;
  for (const auto& [option, value] : run.settings) {
    check_option(train, option, "unknown option");
    arguments.push_back(fmt::format("--{}={}", option, value));
  }
  std::ranges::reverse(arguments);  // parse() takes them in this order
  train.parse(arguments);
  TrainingConfig config = options.config(!options.initial.empty());
  if (whole == Whole::Yes) {
    options.complete(config);
  }
  return config;
}

TrainingConfig config_of(const StudyRun& run,
                         Whole whole,
                         const std::string& file,
                         const StudyMeasures& measures) {
  const auto fail = [&](const char* reason) {
    throw ConfigError(fmt::format("{}: {}: {}", file, name_of(run), reason));
  };
  try {
    TrainingConfig config = config_of(run, whole);
    if (measures.first_layer) {
      require_first_layer(config);
    }
    return config;
  } catch (const CLI::ParseError& error) {
    fail(error.what());
  } catch (const ConfigError& error) {
    fail(error.what());
  }
  return {};
}

// Leaves the runs that have all these labels.
std::vector<StudyRun> chosen_runs(const std::vector<StudyRun>& all,
                                  const std::vector<std::string>& only) {
  std::vector<StudyRun> runs = all;
  for (const std::string& choice : only) {
    const std::size_t at = choice.find('=');
    const Setting wanted{choice.substr(0, at),
                         at == std::string::npos ? "" : choice.substr(at + 1)};
    std::erase_if(runs, [&](const StudyRun& run) {
      return std::ranges::find(run.place, wanted) == run.place.end();
    });
    if (runs.empty()) {
      throw ConfigError(
          fmt::format("--only {}: no run of the study has it; expected AXIS=VALUE, as in "
                      "seed=1; --dry-run lists the runs",
                      choice));
    }
  }
  return runs;
}

void print_plan(const std::vector<StudyRun>& runs) {
  std::cout << fmt::format("{} runs\n", runs.size());
  for (const StudyRun& run : runs) {
    std::cout << fmt::format("{}\n  {}\n", name_of(run), command_of(run));
  }
}

// Shows how many runs are done, and when the others will be.
class Ahead {
 public:
  Ahead(std::size_t num_done, std::size_t total)
      : num_first_(num_done), num_done_(num_done), total_(total) {
    show();
  }

  void add_one() {
    ++num_done_;
    show();
  }

 private:
  void show() {
    const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
    const std::size_t num_new = num_done_ - num_first_;
    const std::string eta =
        num_new == 0
            ? ""
            : fmt::format(", ETA {}", format_duration(seconds / static_cast<double>(num_new) *
                                                      static_cast<double>(total_ - num_done_)));
    status_.show(fmt::format("{} of {} runs{}", num_done_, total_, eta));
  }

  std::size_t num_first_;
  std::size_t num_done_;
  std::size_t total_;
  Clock::time_point started_ = Clock::now();
  StatusLine status_;
};

// Returns the run with this number; they ascend.
const StudyRun& run_with(const std::vector<StudyRun>& runs, int number) {
  return *std::ranges::lower_bound(runs, number, {}, &StudyRun::number);
}

nlohmann::json row_of(const StudyRun& run, const std::string& output) {
  nlohmann::json row = nlohmann::json::parse(output);
  row["run"] = run.number;
  row["command"] = command_of(run);
  row["place"] = nlohmann::json::array();
  for (const auto& [name, label] : run.place) {
    row["place"].push_back({name, label});
  }
  return row;
}

void write_tables(const std::filesystem::path& directory,
                  const std::string& title,
                  const Study& study,
                  const StudyRows& rows) {
  const std::vector<nlohmann::json> all = with_first_layers(rows.rows(), directory);
  const std::string table = to_text(lines_of(all)) + missed_target(all, study.target);
  const std::filesystem::path page = directory / "study.html";
  write_file_atomically(directory / "table.txt", table);
  write_file_atomically(directory / "rows.csv", to_csv(all));
  write_file_atomically(page, study_page(title, all));
  std::cout << table
            << fmt::format("\nrows: {}\npage: {}\n", (directory / "rows.jsonl").string(),
                           page.string());
}

// Returns the exit code.
int run_all(const Options& options,
            const Study& study,
            const std::vector<StudyRun>& runs,
            SignalQueue& signals) {
  const std::filesystem::path directory = options.output;
  std::filesystem::create_directories(directory);
  StudyRows rows(directory / "rows.jsonl", study);
  JobsRequest request{.jobs = {},
                      .num_at_once = options.num_jobs == 0 ? num_cores() : options.num_jobs,
                      .on_result = {}};
  for (const StudyRun& run : runs) {
    if (!rows.has(run.number)) {
      request.jobs.push_back({run.number,
                              {.program = kOwnProgram,
                               .arguments = {"halfback", "study", options.file, "--output",
                                             options.output, "--run", std::to_string(run.number)},
                               .environment = {}}});
    }
  }
  JobsOutcome outcome;
  {
    Ahead ahead(runs.size() - request.jobs.size(), runs.size());
    request.on_result = [&](int number, const std::string& output) {
      rows.add(row_of(run_with(runs, number), output));
      ahead.add_one();
    };
    outcome = run_jobs(request, signals);
  }
  write_tables(directory, std::filesystem::path(options.file).stem().string(), study, rows);
  if (outcome.signal != 0) {
    std::cerr << "stopped; the same command continues\n";
    return kInterruptedExit;
  }
  if (outcome.exit_code != 0) {
    throw Error(fmt::format("{}: {}: {}; the rows so far are kept, and the same command continues",
                            options.file, name_of(run_with(runs, outcome.failed_job)),
                            outcome.error));
  }
  return 0;
}

// Returns the exit code.
int run(Options options) {
  require_option(options.num_jobs >= 0, "jobs", options.num_jobs, "0 or more");
  const Study study = load_study(options.file);
  const std::vector<StudyRun> all = runs_of(study);
  if (options.output.empty()) {
    options.output = std::filesystem::path(options.file).stem().string() + "-study";
  }
  if (options.run) {
    require_option(*options.run >= 0 && *options.run < static_cast<int>(all.size()), "run",
                   *options.run, fmt::format("0 to {}", all.size() - 1));
    const StudyRun& one = all[static_cast<std::size_t>(*options.run)];
    std::cout << train_for_study(config_of(one, Whole::Yes, options.file, study.measures),
                                 study.target, study.measures,
                                 first_layer_path(options.output, *options.run))
                     .dump()
              << '\n';
    return 0;
  }
  SignalQueue signals = team_signals();  // before any thread
  const std::vector<StudyRun> runs = chosen_runs(all, options.only);
  for (const StudyRun& one : runs) {
    config_of(one, Whole::No, options.file, study.measures);
  }
  if (options.is_dry_run) {
    print_plan(runs);
    return 0;
  }
  return run_all(options, study, runs, signals);
}

}  // namespace

void add_study_verb(CLI::App& app) {
  CLI::App* verb = app.add_subcommand(
      "study", "Run a grid of training runs, resumable, and make tables of what they find");
  const auto options = std::make_shared<Options>();
  add_option(*verb, "file", options->file, "FILE", "TOML file with the runs: see docs/study.md")
      ->required();
  add_option(*verb, "--output", options->output, "DIR",
             "Directory for rows and tables (FILE's name with -study); a study that is there "
             "continues");
  add_option(*verb, "--jobs", options->num_jobs, "N", "Runs at a time (0: one for each core)");
  add_option(*verb, "--only", options->only, "AXIS=VALUE", "Only the runs that have it; repeatable")
      ->take_all()
      ->default_str("");
  add_option(*verb, "--run", options->run, "N", "Train run N alone and print its row");
  verb->add_flag("--dry-run", options->is_dry_run, "Check and list the runs without running them");
  verb->footer("Example: halfback study studies/local.toml --jobs 2");
  verb->callback([options] {
    if (const int exit_code = run(*options); exit_code != 0) {
      throw Exit{exit_code};
    }
  });
}

}  // namespace halfback::cli
