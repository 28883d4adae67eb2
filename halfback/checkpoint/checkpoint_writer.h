// Writes checkpoints while training goes on: at the end of a step it copies what a checkpoint
// holds, and a thread writes the copies.
//
// The copies take as many bytes as parameters and optimizer state of the stages together. They are
// made once, on the CPU, and are counted to no rank.
#pragma once

#include "halfback/checkpoint/checkpoint_save.h"

#include <filesystem>
#include <future>
#include <vector>

namespace halfback {

// Called from one thread, between steps. All peers have one and call it alike; what they exchange,
// they exchange on the threads that write.
class CheckpointWriter {
 public:
  // `options.previous_step` is the step that the run begins with, when it resumes. Threads that
  // write call `options.on_complete`.
  CheckpointWriter(std::filesystem::path directory, ModelConfig config, CheckpointOptions options);
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Waits for the checkpoint that is under way, then begins one of these stages: those that this
  // process writes. Returns when the copies are made. The stages must outlive the writing.
  void begin(const std::vector<StageBuffers>& stages, const TrainingState& state);

  // Throws the error of a checkpoint that could not be written, once.
  void check();

  // Waits for the checkpoint that is under way, and throws its error.
  void finish();

 private:
  std::filesystem::path directory_;
  ModelConfig config_;
  CheckpointOptions options_;
  std::vector<StageBuffers> copies_;
  std::future<void>
      under_way_;  // the last member: its end waits for the thread, which uses the rest
};

}  // namespace halfback
