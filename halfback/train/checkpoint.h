// Checkpoints: a directory that Hugging Face's from_pretrained opens (config.json,
// model.safetensors or shards, tokenizer.model where tokens are no bytes), with the state of
// training beside it (training_state.json, training_state.safetensors).
//
// Names and layout know nothing of stages, so a run resumes on any number of them. A directory is
// whole or not there: it is written aside and put in place at the end.
#pragma once

#include "halfback/data/tokenizer.h"
#include "halfback/engine/loss_scale.h"
#include "halfback/engine/stage.h"
#include "halfback/models/model.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

// What a run needs beyond parameters and optimizer state to go on as if never interrupted.
struct TrainingState {
  std::int64_t step = 0;      // done
  std::int64_t position = 0;  // sequences consumed
  std::uint64_t seed = 0;
  std::string optimizer;                          // "adamw" or "sgd"
  std::int64_t data_bytes = 0;                    // size of the text, to notice another one
  std::optional<LossScaleState> loss_scale = {};  // where it is dynamic
};

struct CheckpointOptions {
  TokenizerPointer tokenizer = byte_tokenizer();
  std::uint64_t max_shard_bytes = std::uint64_t{5} << 30;
};

// The stages of a model, in order.
using StageList = std::vector<Stage*>;

// Throws FileError when something cannot be written; the directory is then what it was before.
void save_checkpoint(const std::filesystem::path& directory,
                     const ModelConfig& config,
                     const StageList& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options = {});

// Throws FileError unless save_checkpoint can make the directory, or replace the one that is there.
void require_checkpoint_place(const std::filesystem::path& directory);

// Reads the model's sizes out of config.json. Throws FileError for a file that is not there or is
// of a model that is not known or has features that ours lacks.
ModelConfig load_config(const std::filesystem::path& directory);

// Copies the parameters into the stages. Names may lack their first part ("bert."), as where only
// the inner model was saved. Throws FileError naming the tensor that is missing or has
// another shape or dtype.
void load_parameters(const std::filesystem::path& directory, const StageList& stages);

// Copies the optimizer state into the stages and returns the rest. Throws FileError when the
// directory has no training state, or it is of another optimizer than `optimizer`.
TrainingState load_training_state(const std::filesystem::path& directory,
                                  const StageList& stages,
                                  const std::string& optimizer);

// Returns the tokenizer of tokenizer.model; bytes when there is no such file. Throws FileError.
TokenizerPointer load_tokenizer(const std::filesystem::path& directory);

// Throws ConfigError unless the checkpoint has this tokenizer.
void require_same_tokenizer(const std::filesystem::path& directory, const Tokenizer& wanted);

// Throws ConfigError naming the first size in which two models differ; `where` is the checkpoint.
void require_same_model(const ModelConfig& found,
                        const ModelConfig& wanted,
                        const std::filesystem::path& where);

}  // namespace halfback
