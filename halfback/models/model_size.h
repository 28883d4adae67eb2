// The numbers that describe a model, under the names that the command line, error messages and
// checkpoints call them by.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace halfback {

// Whether a size belongs to the model, or is a choice that may differ between runs of the model.
enum class Fixed { InModel, InRun };

struct ModelSize {
  const char* name;  // as in "kv-heads"
  const char* help;
  std::variant<std::int64_t*, double*, bool*> value;  // inside the model's configuration
  Fixed fixed = Fixed::InModel;
};
using ModelSizes = std::vector<ModelSize>;

// Returns the value as a user would write it.
std::string to_text(const ModelSize& size);

// Sets the value. Throws ConfigError for a text that is not such a value.
void set_from_text(const ModelSize& size, const std::string& text);

// Throws ConfigError for a whole number that is not from 1 to 2^24.
void check_whole_numbers(const ModelSizes& sizes);

// Throws ConfigError for a number that is not finite and above 0.
void check_positive(const char* name, double value);

// Throws ConfigError for a sequence that is longer than the model's positions.
void check_sequence(std::int64_t sequence, std::int64_t num_positions);

}  // namespace halfback
