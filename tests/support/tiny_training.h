// Training runs of a tiny model on a text that the test writes.
#pragma once

#include "halfback/train/training.h"

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

namespace halfback::testing {

// Returns text of words, the same in every run.
std::string tiny_text(std::size_t num_bytes = 3000);

// 4 blocks, width 16, 4 heads that share 2 key/value heads, sequences of 8 bytes.
LlamaConfig tiny_llama();

// Which schedule a run has; 4 micro-batches of 2 sequences.
struct TinySchedule {
  std::string name = "1f1b";
  int num_ranks = 2;
  bool two_stage = true;
};

// 6 steps with warm-up and cosine, one thread a rank, no validation.
TrainingConfig tiny_training(const std::filesystem::path& data, const TinySchedule& schedule = {});

// Runs to the end, or until after step `stop_after`. Returns the loss of every step.
std::vector<double> losses_of(const TrainingConfig& config, std::int64_t stop_after = 1 << 30);

}  // namespace halfback::testing
