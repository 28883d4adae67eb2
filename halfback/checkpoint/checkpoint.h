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
#include "halfback/checkpoint/inherited.h"
#include "halfback/checkpoint/peers.h"
#include "halfback/checkpoint/training_state.h"
#include "halfback/data/tokenizer.h"
#include "halfback/models/model.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace halfback {

struct CheckpointOptions {
  TokenizerPointer tokenizer = byte_tokenizer();
  std::uint64_t max_shard_bytes = std::uint64_t{5} << 30;
  PeersPointer peers = alone();               // who write together, each its part
  int keep = 1;                               // checkpoints: the new one and those before it
  std::optional<std::int64_t> previous_step;  // of the checkpoint before this one in this run
  std::function<void(std::int64_t step)> on_complete = {};  // called when it is in place
  Inherited inherited = {};
  // Of the model's values; as inherited, else float32, when it is not given. The exact values are
  // part of the training state where this is a smaller type.
  std::optional<at::ScalarType> dtype = {};
  std::function<void(const std::string&)> on_note = {};  // hears what had to be set aside
};

// Writes a checkpoint of all peers' stages; a stage may be given by one only. The one that is there
// is kept as kept_path() says when it is of `previous_step` and not more than options.keep are;
// others are deleted. Files beside a checkpoint that are not of it move on to the new one, and
// nothing that is not as it was written is deleted (StagedDirectory). Throws FileError when
// something cannot be written, in all peers; the directory is then what it was before.
void save_checkpoint(const std::filesystem::path& directory,
                     const ModelConfig& config,
                     const StageList& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options = {});

// The same for buffers that are, or were, those of stages.
void save_checkpoint(const std::filesystem::path& directory,
                     const ModelConfig& config,
                     const std::vector<StageBuffers>& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options);

// Returns whether a replica of the weights is the one that writes a stage: all write their part.
bool writes_stage(int stage, int replica, int num_replicas);

// Throws FileError, in all peers, unless save_checkpoint can make the directory, or replace the one
// that is there: a checkpoint that is as it was written, beside which there may be files of others.
struct CheckpointPlace {
  PeersPointer peers = alone();
  TokenizerPointer tokenizer = byte_tokenizer();
  std::uint64_t bytes = 0;  // of the tensors of this peer, for which there must be room
  int keep = 1;
  bool sets_aside = false;  // what is not as it was written: the run resumes from one before it
};
void require_checkpoint_place(const std::filesystem::path& directory,
                              const CheckpointPlace& place = {});

// Returns how many bytes of tensors the stages give to a checkpoint.
std::uint64_t checkpoint_bytes(const StageList& stages);

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
