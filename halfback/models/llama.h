// LLaMA-like decoder: embedding, blocks of (attention, feed-forward), norm and head.
// Source: Touvron et al., "LLaMA", arXiv:2302.13971. Parameter names in checkpoints are those of
// Hugging Face's LlamaForCausalLM.
#pragma once

#include "halfback/layers/stage_layers.h"
#include "halfback/models/model_size.h"

#include <memory>
#include <vector>

namespace halfback {

struct LlamaConfig {
  static constexpr const char* kName = "llama";

  std::int64_t num_layers = 8;
  std::int64_t width = 256;
  std::int64_t num_heads = 8;
  std::int64_t num_key_value_heads = 8;
  std::int64_t hidden = 688;
  std::int64_t sequence = 128;  // longest
  std::int64_t vocabulary = 256;
  double rope_theta = 10000.0;
  double norm_epsilon = 1e-5;
  bool has_tied_head = false;

  bool operator==(const LlamaConfig&) const = default;
};

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(LlamaConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const LlamaConfig& config);

// Returns the number of trained numbers.
std::int64_t num_parameters(const LlamaConfig& config);

// Returns the stages; stage s has blocks_per_stage[s] blocks. A tied head has a copy of the
// embedding's matrix. Parameters have no memory yet.
std::vector<StageLayers> build_llama(const LlamaConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     at::ScalarType dtype = at::kFloat);

}  // namespace halfback
