// LLaMA-like decoder: embedding, blocks of (attention, feed-forward), norm and head.
// Source: Touvron et al., "LLaMA", arXiv:2302.13971. With biases for queries, keys and values it is
// a Qwen2; with its own head size, a Mistral. Parameter names in checkpoints are those of Hugging
// Face's LlamaForCausalLM.
#pragma once

#include "halfback/layers/rotary.h"
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
  std::int64_t head_size = 0;  // 0: width / heads
  std::int64_t hidden = 688;
  std::int64_t sequence = 128;  // in training
  std::int64_t positions = 0;   // longest sequence; 0: as in training
  std::int64_t vocabulary = 256;
  double rope_theta = 10000.0;
  double norm_epsilon = 1e-5;
  bool has_tied_head = false;
  bool has_input_bias = false;  // for queries, keys and values
  bool has_output_bias = false;
  bool has_feed_forward_bias = false;

  // Only published models have these; they come from a model's config.json.
  RotaryScaling rotary_scaling = {};
  // Longer sequences need features that do not exist here: a sliding window, or positions that
  // change with the length. 0: no such limit.
  std::int64_t exact_length = 0;

  std::int64_t channels_of_head() const {
    return head_size > 0 || num_heads < 1 ? head_size : width / num_heads;
  }
  std::int64_t num_positions() const { return positions > 0 ? positions : sequence; }

  bool operator==(const LlamaConfig&) const = default;
};

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(LlamaConfig& config);

// Returns the same with derived sizes resolved: head size and positions.
LlamaConfig resolved(const LlamaConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const LlamaConfig& config);

// Returns the number of trainable parameters.
std::int64_t num_parameters(const LlamaConfig& config);

// Returns the stages; stage s has blocks_per_stage[s] blocks. A tied head has a copy of the
// embedding matrix. Parameters have no memory yet.
std::vector<StageLayers> build_llama(const LlamaConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     at::ScalarType dtype = at::kFloat);

}  // namespace halfback
