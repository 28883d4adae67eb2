// Writes checkpoints while training continues: at the end of a step it copies what a checkpoint
// contains, and a thread writes the copies.
//
// The copies take as many bytes as the parameters and optimizer state of the stages. They are
// allocated once, on the CPU, and counted to no rank.
#pragma once

#include "halfback/checkpoint/checkpoint_save.h"

#include <filesystem>
#include <future>
#include <vector>

namespace halfback {

// Call it from one thread, between steps. All peers have one and make the same calls; the peers
// exchange data on the threads that write.
class CheckpointWriter {
 public:
  // `options.previous_step` is the step from which the run resumes, if it does. The threads that
  // write call `options.on_complete`.
  CheckpointWriter(std::filesystem::path directory, ModelConfig config, CheckpointOptions options);
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Waits for the checkpoint in progress, then begins one of these stages: those that this process
  // writes. Returns when the copies are made. The stages must outlive the writing.
  void begin(const std::vector<StageBuffers>& stages, const TrainingState& state);

  // Throws the error of a checkpoint that could not be written, once.
  void check();

  // Waits for the checkpoint in progress, and throws its error.
  void finish();

 private:
  std::filesystem::path directory_;
  ModelConfig config_;
  CheckpointOptions options_;
  std::vector<StageBuffers> copies_;
  // The last member: its end waits for the thread, which uses the others.
  std::future<void> writing_;
};

}  // namespace halfback
