// Generates text from a checkpoint, with bytes or the tokens of its tokenizer.
#pragma once

#include "halfback/data/tokenizer.h"

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace halfback {

struct GenerationOptions {
  std::filesystem::path checkpoint;
  std::string prompt = "\n";
  std::int64_t num_tokens = 200;
  double temperature = 0.8;  // 0 takes the most likely token
  std::int64_t top_k = 40;   // only the k most likely; 0 for all
  std::uint64_t seed = 1;
  at::Device device = at::kCPU;
  std::function<void(const Tokenizer&)> on_tokenizer = {};  // gets the checkpoint's tokenizer
  std::function<void(const std::string&)> on_note = {};     // gets what is not done as requested
  std::function<void(std::string_view)> on_prompt = {};  // gets the prompt, without special tokens
};

// Continues the prompt and passes on each token's text as it comes, until num_tokens, an end token,
// or until `on_text` returns false. End tokens are eos_token_id of generation_config.json, or of
// config.json if that file is missing. The model sees the tokenizer's prefix() first; special
// tokens are not text. Equal options and checkpoint give equal text. Throws FileError for the
// checkpoint, ConfigError for options out of range.
void generate(const GenerationOptions& options,
              const std::function<bool(std::string_view)>& on_text);

// Draws an index of the logits [V]; `uniform` is in [0, 1).
struct SamplingOptions {
  double temperature = 1.0;
  std::int64_t top_k = 0;
  double uniform = 0.0;
};
std::int64_t sample(const at::Tensor& logits, const SamplingOptions& options);

}  // namespace halfback
