// Checkpoints: a directory that Hugging Face's from_pretrained opens (config.json,
// model.safetensors or shards, tokenizer.model if tokens are not bytes), plus the training state
// (training_state.json, training_state.safetensors or shards) and a list of all files with their
// checksums (checkpoint.json).
//
// Names and layout do not depend on stages or processes, so a run resumes on any number of them. A
// directory is complete or does not exist: it is written elsewhere and moved into place at the end.
// Nothing in it is ever run: only tensors and JSON are read.
#pragma once

#include "halfback/checkpoint/checkpoint_tensors.h"
#include "halfback/checkpoint/model_tensors.h"
#include "halfback/checkpoint/training_state.h"
#include "halfback/data/tokenizer.h"
#include "halfback/models/model.h"

#include <filesystem>
#include <string>

namespace halfback {

// Reads the model's sizes from config.json. Throws FileError if the file is missing, or its model
// is unknown or has features that ours lacks.
ModelConfig load_config(const std::filesystem::path& directory);

// Copies the parameters into the stages, converted to their type. Throws FileError like
// ModelTensors, and for a tensor of another shape.
void load_parameters(const std::filesystem::path& directory, const StageList& stages);
void load_parameters(const ModelTensors& tensors, const StageList& stages);

// Throws FileError, naming `source` and the tensor, unless all values are finite.
void require_finite(const StageList& stages, const std::filesystem::path& source);

// Copies the optimizer state, and exact values if the model's type is smaller, into the stages;
// returns the rest. Throws FileError if the directory has no training state, or one of another
// optimizer than `optimizer`.
TrainingState load_training_state(const std::filesystem::path& directory,
                                  const StageList& stages,
                                  const std::string& optimizer);

// Returns the tokenizer of the files there (see tokenizer_files.h), or bytes if there is none and
// the model may use bytes. Throws FileError.
TokenizerPointer load_tokenizer(const std::filesystem::path& directory);

// Throws ConfigError unless the checkpoint has this tokenizer, or does not name its own.
void require_same_tokenizer(const std::filesystem::path& directory, const Tokenizer& wanted);

// Throws ConfigError naming the first size in which two models differ; `where` is the checkpoint.
// Sizes that a run may choose count only with Fixed::InRun.
void require_same_model(const ModelConfig& found,
                        const ModelConfig& wanted,
                        const std::filesystem::path& where,
                        Fixed compared = Fixed::InRun);

}  // namespace halfback
