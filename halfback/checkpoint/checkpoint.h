// Checkpoints: a directory that Hugging Face's from_pretrained opens (config.json,
// model.safetensors or shards, tokenizer.model where tokens are no bytes), with the state of
// training beside it (training_state.json, training_state.safetensors or shards) and a list of all
// with their checksums (checkpoint.json).
//
// Names and layout know nothing of stages and processes, so a run resumes on any number of them. A
// directory is whole or not there: it is written aside and put in place at the end. Nothing in it
// is ever run: tensors and JSON are all that is read.
#pragma once

#include "halfback/checkpoint/checkpoint_tensors.h"
#include "halfback/checkpoint/model_tensors.h"
#include "halfback/checkpoint/training_state.h"
#include "halfback/data/tokenizer.h"
#include "halfback/models/model.h"

#include <filesystem>
#include <string>

namespace halfback {

// Reads the model's sizes out of config.json. Throws FileError for a file that is not there or is
// of a model that is not known or has features that ours lacks.
ModelConfig load_config(const std::filesystem::path& directory);

// Copies the parameters into the stages, converted to their type. Throws FileError as ModelTensors,
// and for a tensor of another shape.
void load_parameters(const std::filesystem::path& directory, const StageList& stages);
void load_parameters(const ModelTensors& tensors, const StageList& stages);

// Throws FileError, naming `source` and the tensor, unless all values are finite.
void require_finite(const StageList& stages, const std::filesystem::path& source);

// Copies the optimizer state, and values that the model has in a smaller type, into the stages and
// returns the rest. Throws FileError when the
// directory has no training state, or it is of another optimizer than `optimizer`.
TrainingState load_training_state(const std::filesystem::path& directory,
                                  const StageList& stages,
                                  const std::string& optimizer);

// Returns the tokenizer of the files there (see tokenizer_files.h); bytes when there is none and
// the model can be one of bytes. Throws FileError.
TokenizerPointer load_tokenizer(const std::filesystem::path& directory);

// Throws ConfigError unless the checkpoint has this tokenizer, or says nothing about its own.
void require_same_tokenizer(const std::filesystem::path& directory, const Tokenizer& wanted);

// Throws ConfigError naming the first size in which two models differ; `where` is the checkpoint.
// Sizes that are a run's choice count with Fixed::InRun only.
void require_same_model(const ModelConfig& found,
                        const ModelConfig& wanted,
                        const std::filesystem::path& where,
                        Fixed compared = Fixed::InRun);

}  // namespace halfback
