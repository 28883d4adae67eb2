// Mamba language model: embedding, Mamba blocks, norm and head.
// Source: Gu and Dao, "Mamba", arXiv:2312.00752. Parameter names in checkpoints are those of
// Hugging Face's MambaForCausalLM.
#pragma once

#include "halfback/layers/stage_layers.h"
#include "halfback/models/model_size.h"

#include <vector>

namespace halfback {

struct MambaConfig {
  static constexpr const char* kName = "mamba";

  std::int64_t num_layers = 8;
  std::int64_t width = 256;
  std::int64_t state_size = 16;
  std::int64_t conv_size = 4;
  std::int64_t expand = 2;      // inner channels are expand x width
  std::int64_t dt_rank = 0;     // 0: width / 16, rounded up
  std::int64_t sequence = 128;  // in training; the model has no maximum
  std::int64_t vocabulary = 256;
  double norm_epsilon = 1e-5;
  bool has_tied_head = false;

  bool operator==(const MambaConfig&) const = default;
};

// Returns the sizes, which point into `config`.
ModelSizes sizes_of(MambaConfig& config);

// Returns the same with the rank of the step projection resolved.
MambaConfig resolved(const MambaConfig& config);

// Throws ConfigError for sizes that no model can have.
void check(const MambaConfig& config);

// Returns the rank of the step projection, with its default resolved.
std::int64_t step_rank(const MambaConfig& config);

// Returns the number of trainable parameters.
std::int64_t num_parameters(const MambaConfig& config);

// Returns the stages; stage s has blocks_per_stage[s] blocks. Parameters have no memory yet.
std::vector<StageLayers> build_mamba(const MambaConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     at::ScalarType dtype = at::kFloat);

}  // namespace halfback
