// The options of one training run: what it trains on, by which schedule and how long. For train and
// study.
#pragma once

#include "cli/options.h"
#include "cli/tokenizer_option.h"
#include "cli/training_options.h"
#include "halfback/train/training_config.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace halfback::cli {

struct RunOptions {
  RunOptions() {
    training.given.num_steps = 200;
    training.given.learning_rate.warmup_steps = 20;
  }

  TrainingOptions training;
  ScheduleOptions schedule{.source = "1f1b-1"};
  TokenizerOption tokenizer;
  bool skips_verification = false;
  std::optional<std::int64_t> batch_size;
  std::optional<std::int64_t> evaluate_samples;
  std::string initial;
  std::string augment;
  std::string decay = "cosine";
  std::optional<double> sparsity;
  std::string prune = "snip";

  // Adds all of them. The verb's callback must keep this object alive.
  void add_to(CLI::App& verb);

  // Returns what the options say on their own, with the schedule and, unless the run starts from a
  // checkpoint, the model. Throws ConfigError like check(), and what load_runnable() throws.
  TrainingConfig config(bool starts_from_checkpoint);

  // Adds what a checkpoint says, if the run resumes or starts from one, and the tokenizer.
  void complete(TrainingConfig& config);

 private:
  void set_pruning(TrainingConfig& config) const;
};

}  // namespace halfback::cli
