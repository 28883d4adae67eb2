// The numbers that describe a model, under the names that the command line, error messages and
// checkpoints call them by.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace halfback {

struct ModelSize {
  const char* name;  // as in "kv-heads"
  const char* help;
  std::variant<std::int64_t*, double*, bool*> value;  // inside the model's configuration
};
using ModelSizes = std::vector<ModelSize>;

// Returns the value as a user would write it.
std::string to_text(const ModelSize& size);

// Sets the value. Throws ConfigError for a text that is no such value.
void set_from_text(const ModelSize& size, const std::string& text);

// Throws ConfigError for a whole number that is not from 1 to 2^24.
void check_whole_numbers(const ModelSizes& sizes);

}  // namespace halfback
