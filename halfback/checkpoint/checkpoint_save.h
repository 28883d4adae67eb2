// Writes a checkpoint (see checkpoint.h), either completely or not at all.
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
  // Written beside the model if tokens are not bytes.
  TokenizerPointer tokenizer = byte_tokenizer();

  // The most bytes of tensors in one file; more are split into shards. A higher limit makes fewer
  // files.
  std::uint64_t max_shard_bytes = std::uint64_t{5} << 30;

  // The processes that write together, each its part. Alone, by default.
  PeersPointer peers = alone();

  // How many checkpoints to keep: the new one and those before it. Each takes the space of a whole
  // one.
  int keep = 1;

  // The step of this run's previous checkpoint, the only one that is kept.
  std::optional<std::int64_t> previous_step;

  // Called with the step when the checkpoint is in place.
  std::function<void(std::int64_t step)> on_complete = {};

  // What the checkpoint inherits from the one that the run began with.
  Inherited inherited = {};

  // Type of the model's values; by default as inherited, else float32. With a smaller type the
  // exact values are part of the training state, so resuming is exact with any type.
  std::optional<at::ScalarType> dtype = {};

  // Is called with what had to be moved aside.
  std::function<void(const std::string&)> on_note = {};
};

// Writes a checkpoint of all peers' stages; only one peer may give a stage. An existing checkpoint
// of `previous_step` is kept under its kept_path(), up to `options.keep` in all; others are
// deleted. Files in the directory that are not the checkpoint's move to the new one, and nothing
// that has changed since it was written is deleted (StagedDirectory). Throws FileError in all peers
// if something cannot be written; the directory is then as before.
void save_checkpoint(const std::filesystem::path& directory,
                     const ModelConfig& config,
                     const StageList& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options = {});

// The same for buffers of stages, or copies of them.
void save_checkpoint(const std::filesystem::path& directory,
                     const ModelConfig& config,
                     const std::vector<StageBuffers>& stages,
                     const TrainingState& state,
                     const CheckpointOptions& options);

// Returns whether this replica of the weights writes a stage: each replica writes its part.
bool writes_stage(int stage, int replica, int num_replicas);

// Throws FileError, in all peers, unless save_checkpoint can create the directory, or replace an
// existing unaltered checkpoint, beside which there may be other files.
struct CheckpointPlace {
  PeersPointer peers = alone();
  TokenizerPointer tokenizer = byte_tokenizer();
  std::uint64_t bytes = 0;  // of this peer's tensors, which must fit on the disk
  int keep = 1;
  bool sets_aside = false;  // moves altered files aside: the run resumes from an earlier one
};
void require_checkpoint_place(const std::filesystem::path& directory,
                              const CheckpointPlace& place = {});

// Returns how many bytes of tensors the stages add to a checkpoint.
std::uint64_t checkpoint_bytes(const StageList& stages);

}  // namespace halfback
