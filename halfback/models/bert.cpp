#include "halfback/models/bert.h"

#include "halfback/base/error.h"
#include "halfback/layers/bert_embedding.h"
#include "halfback/layers/dropout.h"
#include "halfback/layers/gelu_feed_forward.h"
#include "halfback/layers/layer_norm.h"
#include "halfback/layers/masked_language_model_head.h"
#include "halfback/layers/masked_loss.h"
#include "halfback/layers/residual.h"
#include "halfback/layers/rms_norm.h"
#include "halfback/layers/self_attention.h"
#include "halfback/models/cut.h"

#include <fmt/format.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>

namespace halfback {

namespace {

const std::string kEmbeddings = "bert.embeddings";
const std::string kHead = "cls.predictions";

// Makes the layers in order, and numbers the dropouts.
class Builder {
 public:
  Builder(const BertConfig& config, at::ScalarType dtype) : config_(config), dtype_(dtype) {}

  void add_embedding(StageLayers& stage) {
    stage.add(std::make_unique<BertEmbedding>(
        kEmbeddings,
        BertEmbedding::Options{.vocabulary = config_.vocabulary,
                               .num_channels = config_.width,
                               .num_positions = config_.num_positions(),
                               .num_segments = config_.num_segments,
                               .has_sinusoid_positions = config_.has_sinusoid_positions},
        dtype_));
    stage.add(norm(kEmbeddings + ".LayerNorm"));
    if (config_.dropout > 0.0) {
      stage.add(dropout());
    }
  }

  void add_block(std::int64_t index, StageLayers& stage) {
    const std::string prefix = fmt::format("bert.encoder.layer.{}", index);
    const int block = static_cast<int>(index);
    const LayerPlace attention{.block = block, .part = LayerPlace::Part::Attention};
    const LayerPlace feed_forward{.block = block, .part = LayerPlace::Part::FeedForward};
    stage.add(residual(std::make_unique<SelfAttention>(
                  prefix + ".attention", SelfAttention::Options{.num_channels = config_.width,
                                                                .num_heads = config_.num_heads})),
              attention);
    stage.add(norm(prefix + ".attention.output.LayerNorm"), attention);
    stage.add(residual(std::make_unique<GeluFeedForward>(
                  prefix, GeluFeedForward::Options{.num_channels = config_.width,
                                                   .hidden = config_.hidden})),
              feed_forward);
    stage.add(norm(prefix + ".output.LayerNorm"), feed_forward);
  }

  std::unique_ptr<LossLayer> head() const {
    auto head = std::make_unique<MaskedLanguageModelHead>(
        kHead,
        MaskedLanguageModelHead::Options{.num_channels = config_.width,
                                         .vocabulary = config_.vocabulary,
                                         .embedding_name = kEmbeddings + ".word_embeddings.weight"},
        norm(kHead + ".transform.LayerNorm"));
    return std::make_unique<MaskedLoss>(std::move(head), config_.num_masked(config_.sequence));
  }

 private:
  std::unique_ptr<Norm> norm(const std::string& name) const {
    if (config_.has_rms_norm) {
      return std::make_unique<RmsNorm>(name, config_.width, config_.norm_epsilon);
    }
    return std::make_unique<LayerNorm>(name, config_.width, config_.norm_epsilon);
  }

  std::unique_ptr<Layer> dropout() {
    return std::make_unique<Dropout>(
        DropoutOptions{.probability = config_.dropout, .site = num_dropouts_++});
  }

  std::unique_ptr<Layer> residual(std::unique_ptr<Layer> layer) {
    std::vector<std::unique_ptr<Layer>> branch;
    branch.push_back(std::move(layer));
    if (config_.dropout > 0.0) {
      branch.push_back(dropout());
    }
    return std::make_unique<Residual>(std::move(branch));
  }

  const BertConfig& config_;
  at::ScalarType dtype_;
  std::uint64_t num_dropouts_ = 0;
};

}  // namespace

std::int64_t BertConfig::num_masked(std::int64_t length) const {
  return static_cast<std::int64_t>(std::ceil(masked_fraction * static_cast<double>(length)));
}

ModelSizes sizes_of(BertConfig& config) {
  return {{"layers", "Blocks", &config.num_layers},
          {"width", "Channels", &config.width},
          {"heads", "Attention heads", &config.num_heads},
          {"hidden", "Inner channels of the feed-forward", &config.hidden},
          {"sequence", "Tokens per sequence", &config.sequence, Fixed::InRun},
          {"positions", "Longest sequence that the model takes (0: --sequence)", &config.positions},
          {"vocabulary", "Vocabulary size (that of the tokenizer)", &config.vocabulary},
          {"segments", "Number of token types (segments)", &config.num_segments},
          {"norm-epsilon", "Epsilon of the normalization layers", &config.norm_epsilon},
          {"dropout", "Dropout probability", &config.dropout, Fixed::InRun},
          {"masked-fraction", "Fraction of the tokens that is masked", &config.masked_fraction,
           Fixed::InRun},
          {"rms-norm", "RMSNorm instead of LayerNorm", &config.has_rms_norm},
          {"sinusoid-positions", "Sinusoidal positions instead of learned ones",
           &config.has_sinusoid_positions}};
}

BertConfig resolved(const BertConfig& config) {
  BertConfig copy = config;
  copy.positions = config.num_positions();
  return copy;
}

void check(const BertConfig& config) {
  BertConfig copy = resolved(config);
  check_whole_numbers(sizes_of(copy));
  check_sequence(config.sequence, config.num_positions());
  if (config.width % config.num_heads != 0) {
    throw ConfigError(
        fmt::format("model: {} heads do not divide width {}; change --width or "
                    "--heads",
                    config.num_heads, config.width));
  }
  check_positive("norm-epsilon", config.norm_epsilon);
  if (!(config.dropout >= 0.0 && config.dropout < 1.0)) {
    throw ConfigError(fmt::format("model: --dropout is {}; expected 0 to below 1", config.dropout));
  }
  if (!(config.masked_fraction > 0.0 && config.masked_fraction <= 1.0)) {
    throw ConfigError(fmt::format("model: --masked-fraction is {}; expected above 0, at most 1",
                                  config.masked_fraction));
  }
}

std::int64_t num_parameters(const BertConfig& config) {
  const std::int64_t width = config.width;
  const std::int64_t norm = width * (config.has_rms_norm ? 1 : 2);
  const std::int64_t block =
      4 * width * (width + 1) + config.hidden * (2 * width + 1) + width + 2 * norm;
  const std::int64_t positions = config.has_sinusoid_positions ? 0 : config.num_positions();
  const std::int64_t embedding =
      width * (config.vocabulary + positions + config.num_segments) + norm;
  const std::int64_t head = width * (width + 1) + norm + config.vocabulary;
  return config.num_layers * block + embedding + (config.has_head ? head : 0);
}

std::vector<StageLayers> build_bert(const BertConfig& config,
                                    const std::vector<int>& blocks_per_stage,
                                    at::ScalarType dtype) {
  check(config);
  const std::vector<std::size_t> stage_of_blocks =
      stages_of_blocks(blocks_per_stage, config.num_layers);
  Builder builder(config, dtype);
  std::vector<StageLayers> stages(blocks_per_stage.size());
  builder.add_embedding(stages.front());
  std::int64_t block = 0;
  for (const std::size_t stage : stage_of_blocks) {
    builder.add_block(block++, stages[stage]);
  }
  if (config.has_head) {
    stages.back().loss = builder.head();
  }
  return stages;
}

}  // namespace halfback
