#include "cli/run_options.h"

#include "cli/joined_run.h"
#include "halfback/base/error.h"
#include "halfback/base/option.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/engine/runtime.h"

#include <fmt/format.h>

#include <filesystem>
#include <limits>

namespace halfback::cli {

namespace {

// Samples in one validation. A sequence has many targets, an image one.
constexpr std::int64_t kDefaultSequences = 64;
constexpr std::int64_t kDefaultImages = 1000;

std::int64_t num_evaluated(std::optional<std::int64_t> asked, const ModelConfig& model) {
  const std::int64_t count =
      asked.value_or(task_of(model) == Task::Classes ? kDefaultImages : kDefaultSequences);
  return count == 0 ? std::numeric_limits<std::int64_t>::max() : count;
}

std::int64_t part_of_batch(std::int64_t batch_size, int num_micro_batches) {
  require_option(batch_size >= 1 && batch_size % num_micro_batches == 0, "batch-size", batch_size,
                 fmt::format("a multiple of the {} micro-batches of a step", num_micro_batches));
  return batch_size / num_micro_batches;
}

}  // namespace

void RunOptions::add_to(CLI::App& verb) {
  TrainingConfig& given = training.given;
  add_option(
      verb, "--data", given.data, "PATH",
      "Text file; for resnet, cnn and mlp, directory of images in the IDX format, like MNIST")
      ->required();
  tokenizer.add_to(verb);
  schedule.add_to(verb, "--schedule,--scheme");
  verb.add_flag("--no-verify", skips_verification, "Skip the verification of the schedule");
  add_option(verb, "--augment", augment, "LIST",
             "How training images are changed at random: none, or some of crop,flip,jitter (all of "
             "them for --local-loss infonce, else none)");
  verb.add_flag("--random-labels", given.has_random_labels,
                "Give each training image a label drawn at random; validations then measure the "
                "fit to these");
  add_option(verb, "--training-images", given.num_train_images, "N",
             "The first images of the training set; 0: all");
  add_option(verb, "--steps", given.num_steps, "N", "Optimizer steps");
  add_option(verb, "--batch-size", batch_size, "N",
             "Samples per step, in place of --micro-batch-size");
  add_option(verb, "--warmup", given.learning_rate.warmup_steps, "N",
             "Steps until the learning rate reaches its peak");
  add_option(verb, "--learning-rate-floor", given.learning_rate.floor_fraction, "X",
             "Final learning rate as a fraction of the peak");
  add_option(verb, "--learning-rate-decay", decay, "NAME",
             "From the peak to the final learning rate: cosine or linear");
  add_option(verb, "--decay-steps", given.learning_rate.decay_steps, "N",
             "Steps of this decay, after which the rate stays; 0: all");
  add_option(verb, "--sparsity", sparsity, "X",
             "Fraction of the weights and biases that is held at 0 from the beginning")
      ->group("Pruning");
  add_option(verb, "--prune", prune, "NAME",
             "How they are chosen: snip (least effect on the loss), random or magnitude (smallest)")
      ->group("Pruning");
  add_option(verb, "--prune-samples", given.pruning.num_samples, "N",
             "Training samples whose gradients snip takes; 0: an epoch")
      ->group("Pruning");
  add_option(verb, "--evaluate-every", given.evaluate_every, "N",
             "Steps between validations; 0: never, and all of a text trains");
  add_option(verb, "--evaluate-samples", evaluate_samples, "N",
             fmt::format("Samples per validation ({}; images: {}); 0: all", kDefaultSequences,
                         kDefaultImages));
  add_option(
      verb, "--validation-fraction", given.validation_fraction, "X",
      "Fraction of the text, at its end, that is kept for validation; images have a test set");
  add_option(verb, "--initial", initial, "DIR", "Checkpoint whose parameters the run starts from");
  verb.add_flag("--new-head", given.has_new_head,
                "Start with a new head on the checkpoint of --initial: for an encoder without a "
                "head, or for other --classes");
  training.add_to(verb);
}

TrainingConfig RunOptions::config(bool starts_from_checkpoint) {
  const RunnableSchedule runnable = schedule.load_runnable(
      {.channel_capacity = training.channel_capacity, .verifies = !skips_verification});
  if (batch_size) {
    if (training.micro_batch_size) {
      throw ConfigError(
          "--batch-size and --micro-batch-size are both given; leave one of them out");
    }
    training.micro_batch_size = part_of_batch(*batch_size, runnable->num_micro_batches);
  }
  TrainingConfig config =
      starts_from_checkpoint ? training.config_without_model() : training.config();
  config.schedule = runnable;
  config.pipeline.threads_per_rank = threads_of_rank(
      config.pipeline.threads_per_rank, ranks_on_this_host(config.schedule->num_ranks()));
  if (!augment.empty()) {
    config.augmentation = parse_augmentation(augment);
  }
  config.learning_rate.decay = chosen<Decay>(
      "--learning-rate-decay", decay, {{"cosine", Decay::Cosine}, {"linear", Decay::Linear}});
  set_pruning(config);
  config.initial = initial;
  config.evaluate_samples = evaluate_samples.value_or(0);
  check(config);
  return config;
}

// A sparsity of 0 goes with any method, so that one study can have both.
void RunOptions::set_pruning(TrainingConfig& config) const {
  config.pruning.method = chosen<PruneMethod>("--prune", prune,
                                              {{"snip", PruneMethod::Snip},
                                               {"random", PruneMethod::Random},
                                               {"magnitude", PruneMethod::Magnitude}});
  config.pruning.sparsity = sparsity.value_or(0.0);
  const bool is_snip = config.pruning.method == PruneMethod::Snip;
  const bool has_samples = config.pruning.num_samples != 0;
  if (!sparsity && (has_samples || !is_snip)) {
    throw ConfigError(fmt::format("--{} needs --sparsity X, the fraction that is held at 0",
                                  has_samples ? "prune-samples" : "prune"));
  }
}

void RunOptions::complete(TrainingConfig& config) {
  // A checkpoint knows its model, so sizes need not be given again.
  const std::filesystem::path source =
      config.resumes_from ? config.resumes_from->directory : config.initial;
  if (!source.empty()) {
    const ModelConfig found = load_config(source);
    training.take_model(training.model(config.has_new_head ? with_new_head(found, found) : found),
                        config);
  }
  config.evaluate_samples = num_evaluated(evaluate_samples, config.model);
  tokenizer.apply(config,
                  {.checkpoint = source,
                   .vocabulary = source.empty() ? training.given_size("vocabulary")
                                                : std::optional(num_outcomes(config.model))});
  training.note_model(config.model);
}

}  // namespace halfback::cli
