// What the layers say about their parameters.
#include "tests/support/layer_cases.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback {
namespace {

class ParametersTest : public testing::TestWithParam<LayerCase> {
 protected:
  std::unique_ptr<Layer> layer_ = GetParam().make(at::kFloat);
};

TEST_P(ParametersTest, DecayForMatricesOnly) {
  for (const Parameter* parameter : layer_->parameters()) {
    const bool is_matrix = parameter->shape.size() > 1 && !parameter->name.ends_with(".A_log");
    EXPECT_EQ(parameter->decays, is_matrix) << parameter->name;
  }
}

TEST_P(ParametersTest, StartNormsAtOneBiasesAtZeroAndMatricesAroundZero) {
  for (const Parameter* parameter : layer_->parameters()) {
    if (parameter->init.draw != Draw::Normal && parameter->init.draw != Draw::Uniform) {
      continue;
    }
    // A copy takes the values of its original, whether it trains with it or not.
    const bool is_matrix = parameter->shape.size() > 1 && !parameter->is_copy && parameter->trains;
    const bool is_scale = (parameter->shape.size() == 1 && parameter->name.ends_with(".weight")) ||
                          parameter->name.ends_with(".running_var") ||
                          parameter->name.ends_with(".scale") || parameter->name.ends_with(".D");
    EXPECT_EQ(parameter->init.mean, is_scale ? 1.0 : 0.0) << parameter->name;
    EXPECT_EQ(parameter->init.standard_deviation > 0.0, is_matrix) << parameter->name;
  }
}

TEST_P(ParametersTest, StayTheSameObjects) {
  EXPECT_EQ(layer_->parameters(), layer_->parameters());
}

TEST_P(ParametersTest, HaveCheckpointRowsThatCoverThemInOrder) {
  for (const Parameter* parameter : layer_->parameters()) {
    std::int64_t covered = 0;
    for (const NamedRows& rows : parameter->checkpoint_rows) {
      EXPECT_EQ(rows.begin, covered) << rows.name;
      EXPECT_GT(rows.end, rows.begin) << rows.name;
      covered = rows.end;
    }
    EXPECT_TRUE(parameter->checkpoint_rows.empty() || covered == parameter->shape[0])
        << parameter->name;
  }
}

TEST_P(ParametersTest, CountTheirElements) {
  for (const Parameter* parameter : layer_->parameters()) {
    std::int64_t expected = 1;
    for (const std::int64_t size : parameter->shape) {
      expected *= size;
    }
    EXPECT_EQ(parameter->numel(), expected) << parameter->name;
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         ParametersTest,
                         testing::ValuesIn(all_cases()),
                         [](const auto& named) { return named.param.name; });

std::vector<std::string> names_of(const LayerCase& layer_case) {
  std::vector<std::string> names;
  const std::unique_ptr<Layer> layer = layer_case.make(at::kFloat);
  for (const Parameter* parameter : layer->parameters()) {
    if (parameter->checkpoint_rows.empty()) {
      names.push_back(parameter->name);
    }
    for (const NamedRows& rows : parameter->checkpoint_rows) {
      names.push_back(rows.name + " " + std::to_string(rows.begin) + ":" +
                      std::to_string(rows.end));
    }
  }
  return names;
}

// Names and rows as in a LLaMA checkpoint of Hugging Face.
TEST(CheckpointNamesTest, OfAttention) {
  const LayerCase layer_case =
      attention_case({.num_channels = 24, .num_heads = 4, .num_key_value_heads = 2});
  EXPECT_EQ(names_of(layer_case),
            (std::vector<std::string>{
                "layer.input_layernorm.weight", "layer.self_attn.q_proj.weight 0:24",
                "layer.self_attn.k_proj.weight 24:36", "layer.self_attn.v_proj.weight 36:48",
                "layer.self_attn.o_proj.weight"}));
}

TEST(CheckpointNamesTest, OfFeedForward) {
  EXPECT_EQ(names_of(feed_forward_cases()[0]),
            (std::vector<std::string>{
                "layer.post_attention_layernorm.weight", "layer.mlp.gate_proj.weight 0:7",
                "layer.mlp.up_proj.weight 7:14", "layer.mlp.down_proj.weight"}));
}

TEST(CheckpointNamesTest, OfTheHead) {
  EXPECT_EQ(names_of(head_cases()[0]),
            (std::vector<std::string>{"model.norm.weight", "lm_head.weight"}));
}

TEST(CheckpointNamesTest, OfBatchNorm) {
  EXPECT_EQ(names_of(batch_norm_cases()[0]),
            (std::vector<std::string>{"bn.weight", "bn.bias", "bn.running_mean", "bn.running_var",
                                      "bn.num_batches_tracked"}));
}

TEST(CheckpointNamesTest, OfAMambaBlock) {
  EXPECT_EQ(names_of(mamba_cases()[0]),
            (std::vector<std::string>{"layer.norm.weight", "layer.mixer.in_proj.weight",
                                      "layer.mixer.conv1d.weight", "layer.mixer.conv1d.bias",
                                      "layer.mixer.x_proj.weight", "layer.mixer.dt_proj.weight",
                                      "layer.mixer.dt_proj.bias", "layer.mixer.A_log",
                                      "layer.mixer.D", "layer.mixer.out_proj.weight"}));
}

}  // namespace
}  // namespace halfback
