// The configuration of a training run, and the checks on it.
#pragma once

#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/data/augmentation.h"
#include "halfback/data/tokenizer.h"
#include "halfback/engine/pipeline.h"
#include "halfback/models/local_heads.h"
#include "halfback/models/model.h"
#include "halfback/schedule/runnable.h"
#include "halfback/train/learning_rate.h"
#include "halfback/train/process_run.h"
#include "halfback/train/pruning.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

struct TrainingConfig {
  // -- The model and how it is cut

  ModelConfig model;
  std::string cut;  // blocks of each stage, as in "3,2,3"; "": equal numbers
  RunnableSchedule schedule;
  // What backward recomputes instead of keeping it. More recompute takes less memory and more time.
  Recompute recompute;
  // Of each loss inside the model, if the schedule has any: its head, and what it minimizes.
  LocalHead local_head = LocalHead::Linear;
  LocalLoss local_loss = LocalLoss::Pred;
  // Of the contrastive loss; unless given, those of Contrast.
  std::optional<std::int64_t> projection;
  std::optional<double> temperature;
  PruneOptions pruning;
  // pipeline_options() adds what follows from other fields.
  PipelineOptions pipeline = {.stage = {.seed = 1}};

  // -- Data and steps

  std::string data;  // a text file, or a directory of images
  // Of training images; unless given, all of it for the contrastive loss, and else none.
  std::optional<Augmentation> augmentation;
  // Of images: labels that can only be memorized, on which validations measure the fit; and how
  // many of the training set, 0 for all.
  bool has_random_labels = false;
  std::int64_t num_train_images = 0;
  TokenizerPointer tokenizer = byte_tokenizer();
  std::int64_t micro_batch_size = 4;  // samples; more take more memory and fewer, larger products
  std::int64_t num_steps = 100;
  LearningRate learning_rate;

  // -- Validation

  double validation_fraction = 0.1;    // the end of a text; 0: none, and no validation
  std::int64_t evaluate_every = 50;    // steps, and after the last one; 0: never
  std::int64_t evaluate_samples = 64;  // more make the loss steadier but take proportionally longer

  // -- Checkpoints

  std::filesystem::path checkpoint;   // "": none
  std::int64_t checkpoint_every = 0;  // steps; 0: only at the end
  int keep = 1;                       // the newest and those before it, each takes its own space
  std::optional<at::ScalarType> checkpoint_dtype;  // as CheckpointOptions::dtype

  // -- Where it starts

  std::filesystem::path initial;            // from the parameters of this checkpoint
  bool has_new_head = false;                // but without its head
  std::optional<ResumePoint> resumes_from;  // from the state there

  // -- Surroundings

  std::shared_ptr<ProcessRun> processes;  // null: all ranks are in this one
  // Gets, on any thread, what the user should know and what is not an error.
  std::function<void(const std::string&)> on_note = {};

  // The seed of initial values, data order and random masks.
  std::uint64_t seed() const { return pipeline.stage.seed; }
};

// Throws ConfigError for what no run can have: values out of range, named by their command line
// options, and options that do not go together. Sizes of the model have their own check()
// (models/model.h).
void check(const TrainingConfig& config);

// True if the losses compare two views of each image, so that no label trains anything.
inline bool compares_views(const TrainingConfig& config) {
  return config.local_loss == LocalLoss::InfoNce;
}

// Returns how many samples of a micro-batch pass the model: of each image two views, if compared.
inline std::int64_t samples_that_pass(const TrainingConfig& config) {
  return config.micro_batch_size * (compares_views(config) ? 2 : 1);
}

// Returns the augmentation that is given or the default one.
Augmentation augmentation_of(const TrainingConfig& config);

// Returns how many blocks each stage of the schedule has. Throws like parse_cut().
std::vector<int> cut_of(const TrainingConfig& config);

// Returns the options of the pipeline of a run.
PipelineOptions pipeline_options(const TrainingConfig& config);

// Returns how to build the model for the schedule.
BuildOptions build_options(const TrainingConfig& config);

// Returns the model in the stages of the schedule, each loss with its head. Throws like cut_of()
// and build_model().
std::vector<StageLayers> build_stages(const TrainingConfig& config);

}  // namespace halfback
