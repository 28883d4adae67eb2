// The data of a training run: what its model learns from the given file or directory.
#pragma once

#include "halfback/data/token_text.h"
#include "halfback/train/training_config.h"

#include <cstdint>
#include <memory>
#include <span>

namespace halfback {

// Opens a text, with masked tokens if the model learns to predict them, or images. Throws FileError
// for data that cannot be read or is too short, ConfigError if it does not fit the model.
std::unique_ptr<Dataset> open_data(const TrainingConfig& config,
                                   const TokenText::OnEncoded& on_encoded = {});

// Returns the fraction of a text for validation; 0 without validation.
double text_validation_fraction(const TrainingConfig& config);

// Returns how many tokens a text model needs at least: the tokenizer's, and its mask.
std::int64_t needed_vocabulary(const ModelConfig& model, const Tokenizer& tokenizer);

// Returns how many bytes of text the targets represent.
double num_target_bytes(std::span<const MicroBatch> micro_batches, const Tokenizer& tokenizer);

}  // namespace halfback
