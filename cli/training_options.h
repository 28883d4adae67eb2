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
  TrainingOptions() {
    given.pipeline.update.clip_norm = 1.0;
    given.pipeline.threads_per_rank = 0;
  }

  // What options of numbers and texts are read into; the others are below, as they are written.
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
  int channel_capacity = kDefaultChannelCapacity;

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

  // Returns what was given, without a schedule, with the model of model() or without one. Throws
  // ConfigError for names that are not known.
  TrainingConfig config() const;
  TrainingConfig config_without_model() const;

  // Sets the model, and as many samples of a micro-batch as given, else the default for it.
  void take_model(const ModelConfig& model, TrainingConfig& config) const;

 private:
  void add_model(CLI::App& verb);
  void set_given_sizes(ModelConfig& model) const;

  CLI::Option* model_option_ = nullptr;
  std::map<std::string, CLI::Option*> sizes_;  // of all models, by name
};

}  // namespace halfback::cli
