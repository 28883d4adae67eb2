// What a run needs beyond parameters and optimizer state to resume as if never interrupted:
// training_state.json of a checkpoint.
#pragma once

#include "halfback/engine/loss_scale.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

namespace halfback {

struct TrainingState {
  std::int64_t step = 0;      // done
  std::int64_t position = 0;  // sequences consumed
  std::uint64_t seed = 0;
  std::string optimizer;        // "adamw" or "sgd"
  std::int64_t data_bytes = 0;  // size of the data, to detect other data
  std::uint32_t data_crc32 = 0;
  std::int64_t training_bytes = 0;  // of the data; the rest is for validation
  std::uint32_t tokenizer_crc32 = 0;
  std::optional<LossScaleState> loss_scale = {};  // if it is dynamic
  int gradient_groups = 1;                        // of micro-batches, summed one by one
  std::int64_t samples_per_step = 1;
  std::string losses = {};   // inside the model, with their heads; empty for backprop
  std::string pruning = {};  // method and sparsity; empty without
  std::map<std::string, std::string> options = {};  // values of those that may change, by name

  bool operator==(const TrainingState&) const = default;
};

std::string to_text(const TrainingState& state);

// Throws FileError for a file that is missing, of another version, or not as train writes it.
TrainingState read_training_state(const std::filesystem::path& directory);

}  // namespace halfback
