// halfback train: trains a model.
#include "cli/config.h"
#include "cli/dry_run.h"
#include "cli/joined_run.h"
#include "cli/launch_options.h"
#include "cli/places.h"
#include "cli/report.h"
#include "cli/run_options.h"
#include "cli/status_line.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/engine/runtime.h"
#include "halfback/launch/process_team.h"
#include "halfback/train/progress.h"
#include "halfback/transport/world.h"
#include "halfback/views/headline.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <utility>

namespace halfback::cli {

namespace {

// The type of a checkpoint's values that is the same as in the checkpoint that the run begins with.
constexpr const char* kInheritedDtype = "as-initial";

struct Options {
  RunOptions run;
  LaunchOptions launch;
  std::string checkpoint;
  std::string checkpoint_dtype = kInheritedDtype;
  bool resumes = false;
  std::string report;
  bool is_dry_run = false;
  std::string cost_file;
};

std::atomic<bool> stop_requested{false};

// The first signal ends the run after the current step; the second one ends the process.
extern "C" void request_stop(int signal) {
  stop_requested.store(true);
  std::signal(signal, SIG_DFL);
}

// Of several processes, the first one prints.
bool is_front(const TrainingConfig& config) {
  return !config.processes || config.processes->is_first();
}

void print_note(const std::string& text) { std::cerr << fmt::format("note: {}\n", text); }

// What the options say on their own.
TrainingConfig config_of(Options& options) {
  TrainingConfig config = options.run.config(options.resumes || !options.run.initial.empty());
  config.checkpoint = options.checkpoint;
  config.checkpoint_dtype =
      chosen<std::optional<at::ScalarType>>("--checkpoint-dtype", options.checkpoint_dtype,
                                            {{kInheritedDtype, std::nullopt},
                                             {"float32", at::kFloat},
                                             {"bfloat16", at::kBFloat16},
                                             {"float16", at::kHalf}});
  config.on_note = print_note;
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) {
      throw ConfigError(what);
    }
  };
  require(!options.resumes || !options.checkpoint.empty(),
          "--resume needs --checkpoint DIR, the directory to resume from");
  require(
      !options.resumes || options.run.initial.empty(),
      "--resume and --initial are both given; a run resumes or starts from weights; leave one out");
  require_apart({.checkpoint = options.checkpoint,
                 .report = options.report,
                 .log_directory = options.launch.log_directory,
                 .data = config.data,
                 .initial = options.run.initial});
  require(options.cost_file.empty() || options.is_dry_run,
          "--cost-file is for --dry-run, which predicts a step from it");
  return config;
}

// Adds what the checkpoint to start from says; all processes read it together.
TrainingConfig completed(TrainingConfig config, Options& options) {
  if (options.resumes) {
    config.resumes_from = find_resume_point(
        options.checkpoint, config.processes ? PeersPointer(config.processes) : alone());
    if (const std::string& note = config.resumes_from->note; !note.empty() && is_front(config)) {
      print_note(note);
    }
    const TrainingState state = read_training_state(config.resumes_from->directory);
    if (config.pipeline.gradient_groups == 0) {
      config.pipeline.gradient_groups = state.gradient_groups;
    }
    // Keeps the mini-batch, in as many micro-batches as this schedule has.
    const int num_parts = config.schedule->num_micro_batches;
    std::optional<std::int64_t>& size = options.run.training.micro_batch_size;
    if (!size && state.samples_per_step % num_parts == 0) {
      size = state.samples_per_step / num_parts;
    }
  }
  options.run.complete(config);
  return config;
}

void print_start(const Training& training) {
  const TrainingConfig& config = training.config();
  std::cout << fmt::format(
      "model: {}\n"
      "schedule: {}\n"
      "threads: {} per rank\n",
      describe(config.model), headline(*config.schedule), config.pipeline.threads_per_rank);
  if (!config.tokenizer->files().empty()) {
    std::cout << fmt::format("tokenizer: {} pieces\n", config.tokenizer->vocabulary());
  }
  if (!weight_gradients_ascend(*config.schedule)) {
    std::cout
        << "note: weight gradients of this schedule do not come in ascending micro-batch order; "
           "results equal the plain run to rounding, not to the bit\n";
  }
  if (config.processes) {
    std::cout << fmt::format("processes: {}, clocks within {:.3g} ms of each other\n",
                             config.processes->count(), 1e3 * training.clock_error_seconds());
  }
  if (training.first_step() > 0) {
    std::cout << fmt::format("resumed: {} steps are done\n", training.first_step());
  }
  std::cout << std::flush;
}

// Tokenizing a long text takes time, so its progress is shown.
void open(std::optional<Training>& training, TrainingConfig config) {
  StatusLine status;
  training.emplace(std::move(config), [&](std::int64_t done, std::int64_t total) {
    status.show(fmt::format("making tokens of the text: {} of {}", format_bytes(done),
                            format_bytes(total)));
  });
}

// What the user sees of a run.
class Front {
 public:
  Front(const Options& options, const CLI::App& verb, const Training& training)
      : options_(options),
        summary_(item_name(training.config().model), compares_views(training.config())),
        progress_(std::in_place,
                  stderr,
                  training.config().num_steps,
                  training.first_step(),
                  item_name(training.config().model)) {
    if (!options.report.empty()) {
      report_.emplace(options.report, to_toml(verb), item_name(training.config().model),
                      options.resumes ? std::optional(training.first_step()) : std::nullopt);
    }
    print_start(training);
  }

  void add(const StepReport& step) {
    summary_.add(step);
    if (report_) {
      report_->add(step);
    }
    progress_->update(step.step, step.result->loss, step.num_items);
  }

  void finish(const TrainingConfig& config, const TrainingOutcome& outcome) {
    progress_.reset();
    summary_.print(std::cout);
    if (report_) {
      report_->finish(config, summary_.last_timeline());
      std::cout << fmt::format("report: {}\n", options_.report);
    }
    if (!options_.checkpoint.empty()) {
      std::cout << fmt::format("checkpoint: {} (step {})\n", options_.checkpoint,
                               outcome.last_step);
    }
    say_what_stays(config, outcome.last_step);
    if (outcome.was_stopped) {
      std::cerr << fmt::format("stopped after step {}{}\n", outcome.last_step,
                               options_.checkpoint.empty() ? "" : "; continue with --resume");
    }
  }

 private:
  // A checkpoint that was due to be deleted may contain other files.
  static void say_what_stays(const TrainingConfig& config, std::int64_t last_step) {
    int num_kept = 1;
    for (const KeptCheckpoint& kept : config.checkpoint.empty()
                                          ? std::vector<KeptCheckpoint>()
                                          : kept_checkpoints(config.checkpoint)) {
      if (kept.step < last_step && num_kept < config.keep) {
        ++num_kept;
      } else {
        print_note(fmt::format("{}: stays, since train has not written all that it holds",
                               kept.path.string()));
      }
    }
  }

  const Options& options_;
  std::optional<RunReport> report_;
  RunSummary summary_;
  std::optional<Progress> progress_;
};

// Returns the exit code.
int train(Options& options, const CLI::App& verb, TrainingConfig config) {
  const std::shared_ptr<ProcessRun> processes = config.processes;
  std::optional<Training> training;
  std::optional<Front> front;
  prepare(processes.get(), [&] {
    open(training, completed(std::move(config), options));
    if (is_front(training->config())) {
      front.emplace(options, verb, *training);
    }
  });
  const TrainingOutcome outcome = training->run(
      [&](const StepReport& step) {
        if (front) {
          front->add(step);
        }
      },
      stop_requested);
  if (front) {
    front->finish(training->config(), outcome);
  }
  if (processes) {
    processes->leave();
  }
  return outcome.was_stopped ? kInterruptedExit : 0;
}

// Returns the exit code.
int run(Options& options, const CLI::App& verb) {
  if (options.resumes && detect_world().restart > 0) {
    options.run.initial.clear();  // the first start has used it
    options.run.training.given.has_new_head = false;
  }
  TrainingConfig config = config_of(options);
  const LaunchedRun run{.num_ranks = config.schedule->num_ranks(),
                        .checkpoint = options.checkpoint,
                        .resumes = options.resumes};
  options.launch.check(run);
  if (options.is_dry_run) {
    const World world = detect_world();
    if (world.index == 0) {
      print_dry_run(completed(std::move(config), options),
                    {.num_processes = options.launch.num_processes.value_or(world.count),
                     .cost_file = options.cost_file},
                    std::cout);
    }
    return 0;
  }
  if (options.launch.are_for_launch()) {
    return options.launch.launch(run);
  }
  int exit_code = 0;
  try {
    const std::shared_ptr<ProcessRun> processes = config.processes = join_run(config, verb);
    // Not earlier: a process that still waits for others has nothing to save.
    std::signal(SIGINT, request_stop);
    std::signal(SIGTERM, request_stop);
    const auto work = [&] { exit_code = train(options, verb, std::move(config)); };
    if (processes) {
      processes->guard(work);
    } else {
      work();
    }
  } catch (const EndedByAnother&) {
    return 1;
  } catch (const RefusedError& error) {
    return print_refusal(error);
  }
  return exit_code;
}

}  // namespace

void add_train_verb(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("train", "Train a model over pipeline stages");
  const auto options = std::make_shared<Options>();
  TrainingConfig& given = options->run.training.given;
  options->run.add_to(*verb);
  add_option(*verb, "--checkpoint", options->checkpoint, "DIR",
             "Directory for the checkpoint, written at the end");
  add_option(*verb, "--checkpoint-every", given.checkpoint_every, "N",
             "Steps between checkpoints; 0: only at the end");
  add_option(*verb, "--keep", given.keep, "N",
             "Checkpoints to keep: the newest in DIR, older ones in DIR.step-200 and so on");
  add_option(*verb, "--checkpoint-dtype", options->checkpoint_dtype, "TYPE",
             "Type of the values in a checkpoint: float32, bfloat16, float16, or as-initial (the "
             "type in the checkpoint that the run starts from); resuming is exact with any");
  verb->add_flag("--resume", options->resumes,
                 "Resume from --checkpoint, or from the newest complete one before it");
  add_option(*verb, "--report", options->report, "DIR",
             "Directory for metrics, TensorBoard events, trace and report page");
  verb->add_flag("--dry-run", options->is_dry_run,
                 "Print the placement, memory and time of the run without running it");
  add_option(*verb, "--cost-file", options->cost_file, "FILE",
             "Stage times for --dry-run, as profile writes them (measured)");
  options->launch.add_to(*verb);
  verb->footer(
      "Example: halfback train --data text.txt --ranks 2 --schedule 1f1b-1 --two-stage on "
      "--steps 200 --report run");
  verb->callback([options, verb] {
    if (const int exit_code = run(*options, *verb); exit_code != 0) {
      throw Exit{exit_code};
    }
  });
}

}  // namespace halfback::cli
