#include "halfback/models/llama.h"

#include "halfback/base/error.h"
#include "halfback/layers/attention.h"
#include "halfback/layers/embedding.h"
#include "halfback/layers/feed_forward.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/models/cut.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace halfback {

namespace {

constexpr double kStandardDeviation = 0.02;
const std::string kEmbedding = "model.embed_tokens";

// Adds the two layers of a block. In deeper models, the initial outputs into the residual stream
// are smaller.
void add_block(const LlamaConfig& config,
               std::int64_t index,
               const RotaryAngles& angles,
               StageLayers& stage) {
  const std::string prefix = fmt::format("model.layers.{}", index);
  const double output_deviation =
      kStandardDeviation / std::sqrt(2.0 * static_cast<double>(config.num_layers));
  const int block = static_cast<int>(index);
  stage.add(std::make_unique<Attention>(
                prefix, Attention::Options{.num_channels = config.width,
                                           .num_heads = config.num_heads,
                                           .num_key_value_heads = config.num_key_value_heads,
                                           .head_size = config.head_size,
                                           .has_input_bias = config.has_input_bias,
                                           .has_output_bias = config.has_output_bias,
                                           .epsilon = config.norm_epsilon,
                                           .standard_deviation = kStandardDeviation,
                                           .output_standard_deviation = output_deviation,
                                           .angles = angles}),
            {.block = block, .part = LayerPlace::Part::Attention});
  stage.add(std::make_unique<FeedForward>(
                prefix, FeedForward::Options{.num_channels = config.width,
                                             .hidden = config.hidden,
                                             .has_bias = config.has_feed_forward_bias,
                                             .epsilon = config.norm_epsilon,
                                             .standard_deviation = kStandardDeviation,
                                             .output_standard_deviation = output_deviation}),
            {.block = block, .part = LayerPlace::Part::FeedForward});
}

}  // namespace

ModelSizes sizes_of(LlamaConfig& config) {
  return {{"layers", "Blocks", &config.num_layers},
          {"width", "Channels", &config.width},
          {"heads", "Attention heads", &config.num_heads},
          {"kv-heads", "Key/value heads (as many as heads)", &config.num_key_value_heads},
          {"head-size", "Channels per head (0: width / heads)", &config.head_size},
          {"hidden", "Inner channels of the feed-forward", &config.hidden},
          {"sequence", "Tokens per sequence", &config.sequence, Fixed::InRun},
          {"positions", "Longest sequence that the model takes (0: --sequence)", &config.positions},
          {"vocabulary", "Vocabulary size (that of the tokenizer)", &config.vocabulary},
          {"rope-theta", "Base of the rotary embeddings", &config.rope_theta},
          {"norm-epsilon", "Epsilon of the normalization layers", &config.norm_epsilon},
          {"tied-head", "Share one matrix between embedding and head", &config.has_tied_head},
          {"input-bias", "Biases on queries, keys and values", &config.has_input_bias},
          {"output-bias", "Bias on the output of attention", &config.has_output_bias},
          {"feed-forward-bias", "Biases in the feed-forward", &config.has_feed_forward_bias}};
}

LlamaConfig resolved(const LlamaConfig& config) {
  LlamaConfig copy = config;
  if (config.num_heads > 0 && config.width % config.num_heads == 0) {
    copy.head_size = config.channels_of_head();
  }
  copy.positions = config.num_positions();
  return copy;
}

void check(const LlamaConfig& config) {
  LlamaConfig copy = config;
  copy.head_size = copy.head_size == 0 ? 1 : copy.head_size;  // 0 means derived; not checked here
  copy.positions = config.num_positions();
  check_whole_numbers(sizes_of(copy));
  const bool is_whole = config.head_size > 0 || config.width % config.num_heads == 0;
  if (!is_whole || config.channels_of_head() % 2 != 0) {
    throw ConfigError(fmt::format(
        "model: width {} over {} heads gives heads of {:g}; expected an even whole "
        "number (rotary positions turn pairs); change --width, --heads or --head-size",
        config.width, config.num_heads,
        config.head_size > 0
            ? static_cast<double>(config.head_size)
            : static_cast<double>(config.width) / static_cast<double>(config.num_heads)));
  }
  check_sequence(config.sequence, config.num_positions());
  if (config.exact_length > 0 && config.sequence > config.exact_length) {
    throw ConfigError(fmt::format(
        "model: sequences of {}; expected {} or less: beyond that this checkpoint's attention is a "
        "sliding window, or its rotary positions change with the length, which is not built; use "
        "--sequence {}",
        config.sequence, config.exact_length, config.exact_length));
  }
  const bool has_known_biases = config.has_output_bias
                                    ? config.has_input_bias
                                    : !(config.has_input_bias && config.has_feed_forward_bias);
  if (!has_known_biases) {
    throw ConfigError(
        "model: --output-bias needs --input-bias, and --feed-forward-bias goes with both or "
        "neither; expected biases as a LLaMA or a Qwen2 has them");
  }
  if (config.num_heads % config.num_key_value_heads != 0) {
    throw ConfigError(fmt::format(
        "model: {} heads cannot share {} key/value heads; --kv-heads must divide --heads",
        config.num_heads, config.num_key_value_heads));
  }
  check_positive("rope-theta", config.rope_theta);
  check_positive("norm-epsilon", config.norm_epsilon);
}

std::int64_t num_parameters(const LlamaConfig& config) {
  const std::int64_t queries = config.num_heads * config.channels_of_head();
  const std::int64_t packed = queries + 2 * config.num_key_value_heads * config.channels_of_head();
  const std::int64_t block = config.width * (2 + packed + queries + 3 * config.hidden) +
                             (config.has_input_bias ? packed : 0) +
                             (config.has_output_bias ? config.width : 0) +
                             (config.has_feed_forward_bias ? 2 * config.hidden + config.width : 0);
  const std::int64_t tables = config.has_tied_head ? 1 : 2;
  return config.num_layers * block + config.width * (tables * config.vocabulary + 1);
}

std::vector<StageLayers> build_llama(const LlamaConfig& config,
                                     const std::vector<int>& blocks_per_stage,
                                     at::ScalarType dtype) {
  check(config);
  const std::vector<std::size_t> stage_of_blocks =
      stages_of_blocks(blocks_per_stage, config.num_layers);
  const RotaryAngles angles = rotary_angles({.length = config.sequence,
                                             .head_size = config.channels_of_head(),
                                             .theta = config.rope_theta,
                                             .scaling = config.rotary_scaling},
                                            dtype);
  std::vector<StageLayers> stages(blocks_per_stage.size());
  stages.front().add(std::make_unique<Embedding>(
      kEmbedding, Embedding::Options{.vocabulary = config.vocabulary,
                                     .num_channels = config.width,
                                     .standard_deviation = kStandardDeviation}));
  std::int64_t block = 0;
  for (const std::size_t stage : stage_of_blocks) {
    add_block(config, block++, angles, stages[stage]);
  }
  stages.back().loss = std::make_unique<LanguageModelHead>(LanguageModelHead::Options{
      .num_channels = config.width,
      .vocabulary = config.vocabulary,
      .epsilon = config.norm_epsilon,
      .standard_deviation = kStandardDeviation,
      .weight_name = config.has_tied_head ? kEmbedding + ".weight" : "lm_head.weight",
      .is_tied = config.has_tied_head});
  return stages;
}

}  // namespace halfback
