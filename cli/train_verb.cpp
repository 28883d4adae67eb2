// halfback train: trains a model.
#include "cli/config.h"
#include "cli/dry_run.h"
#include "cli/joined_run.h"
#include "cli/launch_options.h"
#include "cli/options.h"
#include "cli/places.h"
#include "cli/report.h"
#include "cli/status_line.h"
#include "cli/tokenizer_option.h"
#include "cli/training_options.h"
#include "cli/verbs.h"
#include "halfback/base/error.h"
#include "halfback/base/text.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/engine/runtime.h"
#include "halfback/launch/process_team.h"
#include "halfback/train/progress.h"
#include "halfback/transport/world.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

namespace halfback::cli {

namespace {

// Samples in one validation. A sequence has many targets, an image one.
constexpr std::int64_t kDefaultSequences = 64;
constexpr std::int64_t kDefaultImages = 1000;

// The type of a checkpoint's values that is the same as in the checkpoint that the run begins with.
constexpr const char* kInheritedDtype = "as-initial";

struct Options {
  Options() {
    TrainingConfig& given = training.given;
    given.num_steps = 200;
    given.learning_rate.warmup_steps = 20;
  }

  TrainingOptions training;
  ScheduleOptions schedule{.source = "1f1b-1"};
  TokenizerOption tokenizer;
  LaunchOptions launch;
  bool skips_verification = false;
  std::optional<std::int64_t> evaluate_samples;
  std::string checkpoint;
  std::string initial;
  std::string checkpoint_dtype = kInheritedDtype;
  bool resumes = false;
  std::string augment;
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

std::int64_t num_evaluated(std::optional<std::int64_t> asked, const ModelConfig& model) {
  const std::int64_t count =
      asked.value_or(task_of(model) == Task::Classes ? kDefaultImages : kDefaultSequences);
  return count == 0 ? std::numeric_limits<std::int64_t>::max() : count;
}

// Of several processes, the first one prints.
bool is_front(const TrainingConfig& config) {
  return !config.processes || config.processes->is_first();
}

void print_note(const std::string& text) { std::cerr << fmt::format("note: {}\n", text); }

// What the options say on their own.
TrainingConfig config_of(const Options& options) {
  const bool has_own_model = !options.resumes && options.initial.empty();
  TrainingConfig config =
      has_own_model ? options.training.config() : options.training.config_without_model();
  config.schedule =
      options.schedule.load_runnable({.channel_capacity = options.training.channel_capacity,
                                      .verifies = !options.skips_verification});
  config.pipeline.threads_per_rank = threads_of_rank(
      config.pipeline.threads_per_rank, ranks_on_this_host(config.schedule->num_ranks()));
  if (!options.augment.empty()) {
    config.augmentation = parse_augmentation(options.augment);
  }
  config.checkpoint = options.checkpoint;
  config.initial = options.initial;
  config.checkpoint_dtype =
      chosen<std::optional<at::ScalarType>>("--checkpoint-dtype", options.checkpoint_dtype,
                                            {{kInheritedDtype, std::nullopt},
                                             {"float32", at::kFloat},
                                             {"bfloat16", at::kBFloat16},
                                             {"float16", at::kHalf}});
  config.evaluate_samples = options.evaluate_samples.value_or(0);
  config.on_note = print_note;
  check(config);
  const auto require = [](bool holds, const std::string& what) {
    if (!holds) {
      throw ConfigError(what);
    }
  };
  require(!options.resumes || !options.checkpoint.empty(),
          "--resume needs --checkpoint DIR, the directory to resume from");
  require(
      !options.resumes || options.initial.empty(),
      "--resume and --initial are both given; a run resumes or starts from weights; leave one out");
  require_apart({.checkpoint = options.checkpoint,
                 .report = options.report,
                 .log_directory = options.launch.log_directory,
                 .data = config.data,
                 .initial = options.initial});
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
    std::optional<std::int64_t>& size = options.training.micro_batch_size;
    if (!size && state.samples_per_step % num_parts == 0) {
      size = state.samples_per_step / num_parts;
    }
  }
  // A checkpoint knows its model, so sizes need not be given again.
  const std::filesystem::path source =
      config.resumes_from ? config.resumes_from->directory : config.initial;
  if (!source.empty()) {
    const ModelConfig found = load_config(source);
    options.training.take_model(
        options.training.model(config.has_new_head ? with_new_head(found, found) : found), config);
  }
  config.evaluate_samples = num_evaluated(options.evaluate_samples, config.model);
  options.tokenizer.apply(
      config, {.checkpoint = source,
               .vocabulary = source.empty() ? options.training.given_size("vocabulary")
                                            : std::optional(num_outcomes(config.model))});
  options.training.note_model(config.model);
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
    options.initial.clear();  // the first start has used it
    options.training.given.has_new_head = false;
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
  TrainingConfig& given = options->training.given;
  add_option(*verb, "--data", given.data, "PATH",
             "Text file; for resnet and mlp, directory of images in the IDX format, like MNIST")
      ->required();
  options->tokenizer.add_to(*verb);
  options->schedule.add_to(*verb, "--schedule,--scheme");
  verb->add_flag("--no-verify", options->skips_verification,
                 "Skip the verification of the schedule");
  add_option(*verb, "--augment", options->augment, "LIST",
             "How training images are changed at random: none, or some of crop,flip,jitter (all of "
             "them for --local-loss infonce, else none)");
  add_option(*verb, "--steps", given.num_steps, "N", "Optimizer steps");
  add_option(*verb, "--warmup", given.learning_rate.warmup_steps, "N",
             "Steps until the learning rate reaches its peak");
  add_option(*verb, "--learning-rate-floor", given.learning_rate.floor_fraction, "X",
             "Final learning rate as a fraction of the peak");
  add_option(*verb, "--evaluate-every", given.evaluate_every, "N",
             "Steps between validations; 0: never, and all of a text trains");
  add_option(*verb, "--evaluate-samples", options->evaluate_samples, "N",
             fmt::format("Samples per validation ({}; images: {}); 0: all", kDefaultSequences,
                         kDefaultImages));
  add_option(
      *verb, "--validation-fraction", given.validation_fraction, "X",
      "Fraction of the text, at its end, that is kept for validation; images have a test set");
  add_option(*verb, "--checkpoint", options->checkpoint, "DIR",
             "Directory for the checkpoint, written at the end");
  add_option(*verb, "--checkpoint-every", given.checkpoint_every, "N",
             "Steps between checkpoints; 0: only at the end");
  add_option(*verb, "--keep", given.keep, "N",
             "Checkpoints to keep: the newest in DIR, older ones in DIR.step-200 and so on");
  add_option(*verb, "--initial", options->initial, "DIR",
             "Checkpoint whose parameters the run starts from");
  verb->add_flag("--new-head", given.has_new_head,
                 "Start with a new head on the checkpoint of --initial: for an encoder without a "
                 "head, or for other --classes");
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
  options->training.add_to(*verb);
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
