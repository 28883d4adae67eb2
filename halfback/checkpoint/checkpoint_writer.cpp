#include "halfback/checkpoint/checkpoint_writer.h"

#include <chrono>
#include <utility>

namespace halfback {

CheckpointWriter::CheckpointWriter(std::filesystem::path directory,
                                   ModelConfig config,
                                   CheckpointOptions options)
    : directory_(std::move(directory)), config_(std::move(config)), options_(std::move(options)) {}

void CheckpointWriter::begin(const std::vector<StageBuffers>& stages, const TrainingState& state) {
  finish();
  copies_.resize(stages.size());
  for (std::size_t i = 0; i < stages.size(); ++i) {
    copy_buffers(stages[i], copies_[i]);
  }
  writing_ = std::async(std::launch::async, [this, state] {
    save_checkpoint(directory_, config_, copies_, state, options_);
    options_.previous_step = state.step;
  });
}

void CheckpointWriter::check() {
  if (writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
    finish();
  }
}

void CheckpointWriter::finish() {
  if (writing_.valid()) {
    writing_.get();
  }
}

}  // namespace halfback
