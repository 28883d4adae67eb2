// The data of a training run: what its model learns, out of the file or directory that was given.
#pragma once

#include "halfback/data/token_text.h"
#include "halfback/train/training_config.h"

#include <cstdint>
#include <memory>
#include <span>

namespace halfback {

// Opens a text, with tokens masked where the model learns to predict them, or images. Throws
// FileError for data that cannot be read or is too short, ConfigError where it does not fit the
// model.
std::unique_ptr<Dataset> open_data(const TrainingConfig& config,
                                   const TokenText::OnEncoded& on_encoded = {});

// Returns the part of a text that is for validation: none where there is no validation.
double text_validation_fraction(const TrainingConfig& config);

// Returns how many tokens a text model must have at least: those of the tokenizer, and its mask.
std::int64_t needed_vocabulary(const ModelConfig& model, const Tokenizer& tokenizer);

// Returns how many bytes of text the targets stand for.
double num_target_bytes(std::span<const MicroBatch> micro_batches, const Tokenizer& tokenizer);

}  // namespace halfback
