// halfback study: runs of train that differ in some options, side by side, as rows and tables.
#include "cli/launch_options.h"
#include "cli/options.h"
#include "cli/status_line.h"
#include "cli/study_plan.h"
#include "cli/study_runs.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/option.h"
#include "halfback/engine/runtime.h"
#include "halfback/launch/jobs.h"
#include "halfback/launch/process_team.h"
#include "halfback/measure/first_layer.h"
#include "halfback/measure/study_run.h"
#include "halfback/study/fit_table.h"
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
#include <chrono>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback::cli {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kRowsFile = "rows.jsonl";

struct Options {
  std::string file;
  std::string output;
  int num_jobs = 0;
  std::vector<std::string> only;
  std::optional<int> run;
  bool is_dry_run = false;
};

int num_at_once(const Options& options) {
  return options.num_jobs == 0 ? num_cores() : options.num_jobs;
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
  std::string table = to_text(lines_of(all)) + missed_target(all, study.target);
  const std::vector<FitLine> fits = study.target.is_any() ? fits_of(all) : std::vector<FitLine>();
  if (!fits.empty()) {
    table += "\n" + fit_text(fits);
    write_file_atomically(directory / "fits.csv", fit_csv(fits));
  }
  const std::filesystem::path page = directory / "study.html";
  write_file_atomically(directory / "table.txt", table);
  write_file_atomically(directory / "rows.csv", to_csv(all));
  write_file_atomically(page, study_page(title, all, fit_json(fits)));
  std::cout << table
            << fmt::format("\nrows: {}\npage: {}\n", (directory / kRowsFile).string(),
                           page.string());
}

// Returns the exit code.
int run_all(const Options& options,
            const Study& study,
            const std::vector<StudyRun>& runs,
            SignalQueue& signals) {
  const std::filesystem::path directory = options.output;
  std::filesystem::create_directories(directory);
  StudyRows rows(directory / kRowsFile, study);
  JobsRequest request{.jobs = {}, .num_at_once = num_at_once(options), .on_result = {}};
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
  const std::vector<StudyRun> runs = chosen_runs(all, options.only);
  if (options.is_dry_run) {
    print_plan({.file = options.file,
                .study = study,
                .runs = runs,
                .done = done_runs(std::filesystem::path(options.output) / kRowsFile, study),
                .num_at_once = num_at_once(options),
                .num_cores = num_cores()});
    return 0;
  }
  SignalQueue signals = team_signals();  // before any thread
  for (const StudyRun& one : runs) {
    config_of(one, Whole::No, options.file, study.measures);
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
  verb->add_flag("--dry-run", options->is_dry_run,
                 "List the runs and what they will take, from a few steps of each");
  verb->footer("Example: halfback study studies/local.toml --jobs 2");
  verb->callback([options] {
    if (const int exit_code = run(*options); exit_code != 0) {
      throw Exit{exit_code};
    }
  });
}

}  // namespace halfback::cli
