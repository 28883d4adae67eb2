// BERT: an encoder that learns to predict masked tokens. Blocks of attention and feed-forward, each
// followed by a norm of the sum with its input (post-norm).
// Source: Devlin et al., "BERT", arXiv:1810.04805. Parameter names in checkpoints are those of
// Hugging Face's BertForMaskedLM. Attention has no dropout on its weights.
#pragma once

#include "halfback/layers/stage_layers.h"
#include "halfback/models/model_size.h"

#include <vector>

namespace halfback {

struct BertConfig {
  static constexpr const char* kName = "bert";

  std::int64_t num_layers = 8;
  std::int64_t width = 256;
  std::int64_t num_heads = 8;
  std::int64_t hidden = 1024;
  std::int64_t sequence = 128;    // in training
  std::int64_t positions = 0;     // longest sequence; 0: as in training
  std::int64_t vocabulary = 257;  // bytes and the mask
  std::int64_t num_segments = 2;
  double norm_epsilon = 1e-12;
  double dropout = 0.1;                 // of the embedding and of the blocks' branches
  double masked_fraction = 0.15;        // of the tokens of a sequence, rounded up
  bool has_rms_norm = false;            // instead of LayerNorm, as in the 2BP paper
  bool has_sinusoid_positions = false;  // instead of learned, as in the 2BP paper
  bool has_head = true;                 // false: the encoder alone, which cannot be trained

  std::int64_t num_positions() const { return positions > 0 ? positions : sequence; }

  // Returns the number of masked tokens in a sequence of this length.
  std::int64_t num_masked(std::int64_t length) const;

  bool operator==(const BertConfig&) const = default;
};

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(BertConfig& config);

// Returns the same with the positions resolved.
BertConfig resolved(const BertConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const BertConfig& config);

// Returns the number of trainable parameters.
std::int64_t num_parameters(const BertConfig& config);

// Returns the stages; stage s has blocks_per_stage[s] blocks. Parameters have no memory yet. The
// first stage takes token ids [N, T] and, optionally, an integer mask [N, T], 0 for padding.
std::vector<StageLayers> build_bert(const BertConfig& config,
                                    const std::vector<int>& blocks_per_stage,
                                    at::ScalarType dtype = at::kFloat);

}  // namespace halfback
