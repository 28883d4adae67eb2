// Writing a checkpoint (checkpoint.h says what it is): whole or not there.
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
  // Written beside the model, where tokens are not bytes.
  TokenizerPointer tokenizer = byte_tokenizer();

  // The most bytes of tensors in one file; more go into shards. Larger ones make fewer files.
  std::uint64_t max_shard_bytes = std::uint64_t{5} << 30;

  // Who write together, each its part. Alone, by default.
  PeersPointer peers = alone();

  // Checkpoints that are kept: the new one and those before it. Each takes the room of a whole one.
  int keep = 1;

  // The step of the checkpoint before this one in this run, which alone is kept.
  std::optional<std::int64_t> previous_step;

  // Called with the step when the checkpoint is in place.
  std::function<void(std::int64_t step)> on_complete = {};

  // What the checkpoint has again that the run began with.
  Inherited inherited = {};

  // Type of the model's values; by default as inherited, else float32. With a smaller one the exact
  // values are part of the training state, so that resuming is exact with any.
  std::optional<at::ScalarType> dtype = {};

  // Hears what had to be set aside.
  std::function<void(const std::string&)> on_note = {};
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

}  // namespace halfback
