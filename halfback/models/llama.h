// LLaMA-like decoder: embedding, blocks of (attention, feed-forward), norm and head.
// Source: Touvron et al., "LLaMA", arXiv:2302.13971. With biases of queries, keys and values it is
// a Qwen2, with a head size of its own a Mistral. Parameter names in checkpoints are those of
// Hugging Face's LlamaForCausalLM.
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
  std::int64_t positions = 0;   // of the longest sequence; 0: as in training
  std::int64_t vocabulary = 256;
  double rope_theta = 10000.0;
  double norm_epsilon = 1e-5;
  bool has_tied_head = false;
  bool has_input_bias = false;  // of queries, keys and values
  bool has_output_bias = false;
  bool has_feed_forward_bias = false;

  // Only published models have these; a model's own config.json says them.
  RotaryScaling rotary_scaling = {};
  // Sequences that are longer need what is not built: a window that slides, or positions that
  // change with the length. 0: there is no such limit.
  std::int64_t exact_length = 0;

  std::int64_t channels_of_head() const {
    return head_size > 0 || num_heads < 1 ? head_size : width / num_heads;
  }
  std::int64_t num_positions() const { return positions > 0 ? positions : sequence; }

  bool operator==(const LlamaConfig&) const = default;
};

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(LlamaConfig& config);

// Returns the same with the sizes that follow from others worked out: head size and positions.
LlamaConfig resolved(const LlamaConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const LlamaConfig& config);

// Returns the number of trainable parameters.
std::int64_t num_parameters(const LlamaConfig& config);

// Returns the stages; stage s has blocks_per_stage[s] blocks. A tied head has a copy of the
// embedding's matrix. Parameters have no memory yet.
std::vector<StageLayers> build_llama(const LlamaConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     at::ScalarType dtype = at::kFloat);

}  // namespace halfback
