// The options that describe a model and its training, for train and compare.
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
  TrainingOptions() {
    given.pipeline.update.clip_norm = 1.0;
    given.pipeline.threads_per_rank = 0;
  }

  // Number and text options are parsed into this; those below are kept as they are written.
  TrainingConfig given;
  std::string model_name = "llama";
  std::optional<std::int64_t> micro_batch_size;
  std::string optimizer = "adamw";
  std::string clip_scope = "model";
  std::string weight_gradients = "looped";
  std::string device = "cpu";
  std::string precision = "float32";
  std::string loss_scale = "auto";
  std::string recompute = "none";
  std::string local_head = "linear";
  std::string local_loss = "pred";
  std::optional<std::int64_t> head_refresh;
  int channel_capacity = kDefaultChannelCapacity;

  // Adds all of them. The verb's callback must keep this object alive.
  void add_to(CLI::App& verb);

  // Returns the size of that name if it was given.
  std::optional<std::int64_t> given_size(const std::string& name) const;

  // Sets the options' values to the model's sizes and to what was left to a default that not every
  // run has, so that a written configuration contains them.
  void note_model(const ModelConfig& found) const;

  // Returns the model with the given sizes. Throws ConfigError for a size that the model does not
  // have or that is not a valid value.
  ModelConfig model() const;

  // The same, starting from the model of a checkpoint.
  ModelConfig model(const ModelConfig& of_checkpoint) const;

  // Returns what was given, without a schedule, with or without the model of model(). Throws
  // ConfigError for unknown names.
  TrainingConfig config() const;
  TrainingConfig config_without_model() const;

  // Sets the model, and the given number of samples of a micro-batch, else the model's default.
  void take_model(const ModelConfig& model, TrainingConfig& config) const;

 private:
  void add_model(CLI::App& verb);
  void set_given_sizes(ModelConfig& model) const;

  CLI::Option* model_option_ = nullptr;
  CLI::Option* head_refresh_option_ = nullptr;
  std::map<std::string, CLI::Option*> sizes_;  // of all models, by name
};

}  // namespace halfback::cli
