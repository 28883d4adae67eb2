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
  under_way_ = std::async(std::launch::async, [this, state] {
    save_checkpoint(directory_, config_, copies_, state, options_);
    options_.previous_step = state.step;
  });
}

void CheckpointWriter::check() {
  if (under_way_.valid() &&
      under_way_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
    finish();
  }
}

void CheckpointWriter::finish() {
  if (under_way_.valid()) {
    under_way_.get();
  }
}

}  // namespace halfback
