// The LLaMA-like model: which sizes it refuses, its parameters and their names, its tied head.
#include "halfback/models/llama.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/model_checks.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace halfback {
namespace {

LlamaConfig tiny() {
  return {.num_layers = 2,
          .width = 8,
          .num_heads = 4,
          .num_key_value_heads = 2,
          .hidden = 12,
          .sequence = 5,
          .vocabulary = 11};
}

std::string refusal(LlamaConfig config) {
  return text_of_thrown<ConfigError>([&] { check(config); });
}

TEST(LlamaTest, RefusesSizesOutOfRangeByTheirOption) {
  const std::vector<std::pair<std::string, std::int64_t LlamaConfig::*>> sizes = {
      {"layers", &LlamaConfig::num_layers},     {"width", &LlamaConfig::width},
      {"heads", &LlamaConfig::num_heads},       {"kv-heads", &LlamaConfig::num_key_value_heads},
      {"hidden", &LlamaConfig::hidden},         {"sequence", &LlamaConfig::sequence},
      {"vocabulary", &LlamaConfig::vocabulary},
  };
  for (const auto& [name, member] : sizes) {
    for (const std::int64_t size : {std::int64_t{0}, std::int64_t{-3}, std::int64_t{1} << 40}) {
      LlamaConfig config = tiny();
      config.*member = size;
      EXPECT_EQ(refusal(config), "model: --" + name + " is " + std::to_string(size) +
                                     "; expected a number from 1 to 16777216");
    }
  }
}

TEST(LlamaTest, RefusesHeadsThatDoNotFitTheWidth) {
  LlamaConfig config = tiny();
  config.num_heads = 3;
  EXPECT_TRUE(contains(refusal(config), "width 8 over 3 heads gives heads of 2.66667"));
  config.num_heads = 8;
  EXPECT_TRUE(contains(refusal(config), "width 8 over 8 heads gives heads of 1; expected an even"));
  config.num_heads = 4;
  config.num_key_value_heads = 3;
  EXPECT_TRUE(contains(refusal(config), "4 heads cannot share 3 key/value heads"));
  config.num_key_value_heads = 8;
  EXPECT_TRUE(contains(refusal(config), "--kv-heads must divide --heads"));
}

TEST(LlamaTest, RefusesBiasesThatNoModelHas) {
  LlamaConfig config = tiny();
  config.has_output_bias = true;
  EXPECT_TRUE(contains(refusal(config), "model: --output-bias needs --input-bias, and "))
      << refusal(config);
}

TEST(LlamaTest, RefusesConstantsThatAreNotPositive) {
  for (const double wrong : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()}) {
    LlamaConfig config = tiny();
    config.rope_theta = wrong;
    EXPECT_TRUE(contains(refusal(config), "model: --rope-theta is ")) << wrong;
    config = tiny();
    config.norm_epsilon = wrong;
    EXPECT_TRUE(contains(refusal(config), "model: --norm-epsilon is ")) << wrong;
  }
}

TEST(LlamaTest, NumParametersIsTheSumOverAllParameters) {
  std::vector<LlamaConfig> configs(5, tiny());
  configs[1].num_key_value_heads = 4;
  configs[2].num_key_value_heads = 1;
  configs[3].has_tied_head = true;
  configs[4] = LlamaConfig{};
  for (const LlamaConfig& config : configs) {
    const auto stages = build_llama(config, {static_cast<int>(config.num_layers)});
    std::int64_t sum = 0;
    for (const Parameter* parameter : all_parameters(stages)) {
      sum += parameter->is_copy ? 0 : parameter->numel();
    }
    EXPECT_EQ(num_parameters(config), sum);
  }
}

TEST(LlamaTest, NamesAndShapesInACheckpointAreThoseOfHuggingFace) {
  std::map<std::string, std::vector<std::int64_t>> expected = {
      {"model.embed_tokens.weight", {11, 8}},
      {"model.norm.weight", {8}},
      {"lm_head.weight", {11, 8}}};
  for (const std::string block : {"model.layers.0.", "model.layers.1."}) {
    expected[block + "input_layernorm.weight"] = {8};
    expected[block + "self_attn.q_proj.weight"] = {8, 8};
    expected[block + "self_attn.k_proj.weight"] = {4, 8};
    expected[block + "self_attn.v_proj.weight"] = {4, 8};
    expected[block + "self_attn.o_proj.weight"] = {8, 8};
    expected[block + "post_attention_layernorm.weight"] = {8};
    expected[block + "mlp.gate_proj.weight"] = {12, 8};
    expected[block + "mlp.up_proj.weight"] = {12, 8};
    expected[block + "mlp.down_proj.weight"] = {8, 12};
  }
  EXPECT_EQ(checkpoint_shapes(build_llama(tiny(), {2})), expected);
  EXPECT_EQ(checkpoint_shapes(build_llama(tiny(), {1, 1})), expected);
  LlamaConfig tied = tiny();
  tied.has_tied_head = true;
  expected.erase("lm_head.weight");
  EXPECT_EQ(checkpoint_shapes(build_llama(tied, {2})), expected);
}

TEST(LlamaTest, OnlyMatricesDecay) {
  const auto stages = build_llama(tiny(), {2});
  for (const Parameter* parameter : all_parameters(stages)) {
    EXPECT_EQ(parameter->decays, parameter->shape.size() == 2) << parameter->name;
  }
}

TEST(LlamaTest, StagesHaveTheirBlocksAndTheEndsOfTheModel) {
  LlamaConfig config = tiny();
  config.num_layers = 6;
  const auto stages = build_llama(config, {3, 1, 2});
  ASSERT_EQ(stages.size(), 3U);
  EXPECT_EQ(stages[0].layers.size(), 1U + 2 * 3);
  EXPECT_EQ(stages[1].layers.size(), 2U);
  EXPECT_EQ(stages[2].layers.size(), 2U * 2);
  EXPECT_EQ(stages[0].loss, nullptr);
  EXPECT_EQ(stages[1].loss, nullptr);
  EXPECT_NE(stages[2].loss, nullptr);
}

TEST(LlamaTest, ACutOfOtherLayersIsOurMistake) {
  EXPECT_THROW(build_llama(tiny(), {1, 2}), std::logic_error);
}

MicroBatch batch_of(const LlamaConfig& config, std::uint64_t key) {
  return token_batch(config.sequence, config.vocabulary, key);
}

PlainRun plain_run(const LlamaConfig& config) {
  return plain_run_of(build_llama(config, {static_cast<int>(config.num_layers)}, at::kDouble));
}

TEST(LlamaTest, GradientsOfTheWholeModelEqualFiniteDifferences) {
  expect_finite_differences(plain_run(tiny()), {batch_of(tiny(), 1), batch_of(tiny(), 2)});
}

TEST(LlamaTest, ATiedHeadAddsBothGradientsOfItsMatrix) {
  LlamaConfig config = tiny();
  config.has_tied_head = true;
  expect_finite_differences(plain_run(config), {batch_of(config, 1), batch_of(config, 2)});
}

TEST(LlamaTest, ATiedHeadLearns) {
  LlamaConfig config = tiny();
  config.has_tied_head = true;
  PlainRun run = plain_run(config);
  run.initialize(3);
  const std::vector<MicroBatch> batches = {batch_of(config, 1)};
  const double first = run.train_step(batches, 1, 1e-2).loss;
  double last = first;
  for (int step = 2; step <= 40; ++step) {
    last = run.train_step(batches, step, 1e-2).loss;
  }
  EXPECT_LT(last, 0.5 * first);
}

}  // namespace
}  // namespace halfback
