// The options that describe a model and its training; train and compare have them.
#pragma once

#include "halfback/models/model.h"
#include "halfback/train/training.h"

#include <CLI/CLI.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace halfback::cli {

struct TrainingOptions {
  std::string model_name = "llama";
  std::string cut;
  std::string data;
  std::optional<std::int64_t> micro_batch_size;
  std::uint64_t seed = 1;
  std::string optimizer = "adamw";
  OptimizerOptions optimizer_settings;
  double learning_rate = 1e-3;
  double clip_norm = 1.0;
  std::string clip_scope = "model";
  std::string weight_gradients = "looped";
  int gradient_groups = 0;
  bool shards_optimizer = false;
  std::string device = "cpu";
  std::string precision = "float32";
  std::string loss_scale = "auto";
  std::string recompute = "none";
  bool recomputes_gradients = false;
  int threads_per_rank = 0;
  int channel_capacity = 16;
  double timeout_seconds = 60.0;

  // Adds all of them. The verb's callback must keep this object alive.
  void add_to(CLI::App& verb);

  // Returns the size of that name where it was given.
  std::optional<std::int64_t> given_size(const std::string& name) const;

  // Makes the sizes of the model the options' values, so that a written configuration has them.
  void note_model(const ModelConfig& found) const;

  // Returns the model with the sizes that were given. Throws ConfigError for a size that it has not
  // or that is no such value.
  ModelConfig model() const;

  // The same on top of the model of a checkpoint.
  ModelConfig model(const ModelConfig& of_checkpoint) const;

  // Returns the configuration for a schedule, with the model of model(). Throws ConfigError for
  // values out of range.
  TrainingConfig config(const Schedule& schedule) const;
  TrainingConfig config_without_model(const Schedule& schedule) const;

  // Sets the model, and as many samples of a micro-batch as given, else the default for it.
  void take_model(const ModelConfig& model, TrainingConfig& config) const;

 private:
  void add_model(CLI::App& verb);
  void set_given_sizes(ModelConfig& model) const;

  CLI::Option* model_option_ = nullptr;
  std::map<std::string, CLI::Option*> sizes_;  // of all models, by name
};

// Throws ScheduleError unless the schedule runs to its end over channels of this capacity; the
// messages that it may lack are added so that it does.
void validate_for_run(const Schedule& schedule, int channel_capacity);

// Returns how many threads each of the ranks gets: what was asked for, or, for 0, its share of the
// machine's cores.
int resolve_threads(int asked, int num_ranks);

// Cores that this process may use.
int num_cores();

}  // namespace halfback::cli
