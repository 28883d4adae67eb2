#include "halfback/models/mamba.h"

#include "halfback/layers/embedding.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/layers/mamba_block.h"
#include "halfback/models/cut.h"

#include <fmt/format.h>

#include <cmath>
#include <string>

namespace halfback {

namespace {

constexpr double kStandardDeviation = 0.02;
constexpr std::int64_t kWidthPerRank = 16;
const std::string kEmbedding = "backbone.embeddings";

// In deeper models, the initial outputs into the residual stream are smaller.
std::unique_ptr<MambaBlock> build_block(const MambaConfig& config, int index) {
  return std::make_unique<MambaBlock>(
      fmt::format("backbone.layers.{}", index),
      MambaBlock::Options{.num_channels = config.width,
                          .inner_channels = config.expand * config.width,
                          .state_size = config.state_size,
                          .num_taps = config.conv_size,
                          .step_rank = step_rank(config),
                          .epsilon = config.norm_epsilon,
                          .output_scale = 1.0 / std::sqrt(static_cast<double>(config.num_layers))});
}

}  // namespace

ModelSizes sizes_of(MambaConfig& config) {
  return {{"layers", "Blocks", &config.num_layers},
          {"width", "Channels", &config.width},
          {"state-size", "State size of an inner channel", &config.state_size},
          {"conv-size", "Width of the causal convolution, in tokens", &config.conv_size},
          {"expand", "Inner channels of a block, as a multiple of the width", &config.expand},
          {"dt-rank", "Rank of the step size's projection (0: width / 16)", &config.dt_rank},
          {"sequence", "Tokens per sequence", &config.sequence, Fixed::InRun},
          {"vocabulary", "Vocabulary size (that of the tokenizer)", &config.vocabulary},
          {"norm-epsilon", "Epsilon of the normalization layers", &config.norm_epsilon},
          {"tied-head", "Share one matrix between embedding and head", &config.has_tied_head}};
}

MambaConfig resolved(const MambaConfig& config) {
  MambaConfig copy = config;
  copy.dt_rank = config.dt_rank == 0 ? step_rank(config) : config.dt_rank;
  return copy;
}

void check(const MambaConfig& config) {
  MambaConfig copy = resolved(config);
  check_whole_numbers(sizes_of(copy));
  check_positive("norm-epsilon", config.norm_epsilon);
}

std::int64_t step_rank(const MambaConfig& config) {
  return config.dt_rank > 0 ? config.dt_rank : (config.width + kWidthPerRank - 1) / kWidthPerRank;
}

std::int64_t num_parameters(const MambaConfig& config) {
  const std::int64_t inner = config.expand * config.width;
  const std::int64_t rank = step_rank(config);
  const std::int64_t per_inner_channel =
      3 * config.width + config.conv_size + 1 + 2 * rank + 3 * config.state_size + 2;
  const std::int64_t tables = config.has_tied_head ? 1 : 2;
  return config.num_layers * (config.width + inner * per_inner_channel) +
         config.width * (tables * config.vocabulary + 1);
}

std::vector<StageLayers> build_mamba(const MambaConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     at::ScalarType /*dtype*/) {
  check(config);
  const std::vector<std::size_t> stage_of_blocks =
      stages_of_blocks(blocks_per_stage, config.num_layers);
  std::vector<StageLayers> stages(blocks_per_stage.size());
  stages.front().add(std::make_unique<Embedding>(
      kEmbedding, Embedding::Options{.vocabulary = config.vocabulary,
                                     .num_channels = config.width,
                                     .standard_deviation = kStandardDeviation}));
  int block = 0;
  for (const std::size_t stage : stage_of_blocks) {
    stages[stage].add(build_block(config, block), {.block = block});
    ++block;
  }
  stages.back().loss = std::make_unique<LanguageModelHead>(LanguageModelHead::Options{
      .num_channels = config.width,
      .vocabulary = config.vocabulary,
      .epsilon = config.norm_epsilon,
      .standard_deviation = kStandardDeviation,
      .norm_name = "backbone.norm_f",
      .weight_name = config.has_tied_head ? kEmbedding + ".weight" : "lm_head.weight",
      .is_tied = config.has_tied_head});
  return stages;
}

}  // namespace halfback
