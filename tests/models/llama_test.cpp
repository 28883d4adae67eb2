// The LLaMA-like model: which sizes it refuses, its parameters and their names, its tied head.
#include "halfback/models/llama.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/engine/plain_run.h"
#include "tests/support/errors.h"

#include <ATen/ops/empty.h>
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

std::vector<Parameter*> all_parameters(const std::vector<StageLayers>& stages) {
  std::vector<Parameter*> all;
  const auto add = [&](auto& layer) {
    for (Parameter* parameter : layer.parameters()) {
      all.push_back(parameter);
    }
  };
  for (const StageLayers& stage : stages) {
    for (const auto& layer : stage.layers) {
      add(*layer);
    }
    if (stage.loss) {
      add(*stage.loss);
    }
  }
  return all;
}

// Returns the names in a checkpoint with their shapes.
std::map<std::string, std::vector<std::int64_t>> checkpoint_shapes(const LlamaConfig& config,
                                                                   const std::vector<int>& cut) {
  const auto stages = build_llama(config, cut);
  std::map<std::string, std::vector<std::int64_t>> shapes;
  for (const Parameter* parameter : all_parameters(stages)) {
    if (parameter->checkpoint_rows.empty()) {
      shapes[parameter->name] = parameter->shape;
    }
    for (const NamedRows& rows : parameter->checkpoint_rows) {
      std::vector<std::int64_t> shape = parameter->shape;
      shape.front() = rows.end - rows.begin;
      shapes[rows.name] = shape;
    }
  }
  return shapes;
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

TEST(LlamaTest, RefusesConstantsThatAreNotPositive) {
  for (const double wrong : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()}) {
    LlamaConfig config = tiny();
    config.rope_theta = wrong;
    EXPECT_TRUE(contains(refusal(config), "model: rope theta")) << wrong;
    config = tiny();
    config.norm_epsilon = wrong;
    EXPECT_TRUE(contains(refusal(config), "norm epsilon")) << wrong;
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
  EXPECT_EQ(checkpoint_shapes(tiny(), {2}), expected);
  EXPECT_EQ(checkpoint_shapes(tiny(), {1, 1}), expected);
  LlamaConfig tied = tiny();
  tied.has_tied_head = true;
  expected.erase("lm_head.weight");
  EXPECT_EQ(checkpoint_shapes(tied, {2}), expected);
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
  MicroBatch batch{{at::empty({2, config.sequence}, at::kLong)},
                   at::empty({2, config.sequence}, at::kLong)};
  std::uint64_t count = 0;
  for (at::Tensor* tensor : {&batch.inputs[0], &batch.targets}) {
    for (std::int64_t i = 0; i < tensor->numel(); ++i) {
      tensor->mutable_data_ptr<std::int64_t>()[i] = static_cast<std::int64_t>(
          keyed_hash({key, count++}) % static_cast<std::uint64_t>(config.vocabulary));
    }
  }
  return batch;
}

// A model in double on one stage, whose gradients finite differences check.
PlainRun plain_run(const LlamaConfig& config) {
  Stage::Options options;
  options.dtype = at::kDouble;
  return {
      std::move(build_llama(config, {static_cast<int>(config.num_layers)}, at::kDouble).front()),
      options, 0.0};
}

void expect_finite_differences(const LlamaConfig& config) {
  constexpr double kStep = 1e-5;
  PlainRun run = plain_run(config);
  run.initialize(7);
  const std::vector<MicroBatch> batches = {batch_of(config, 1), batch_of(config, 2)};
  run.accumulate_gradients(batches);
  const std::vector<Parameter*> parameters = run.stage().store().parameters();
  std::vector<at::Tensor> gradients;
  for (const Parameter* parameter : parameters) {
    gradients.push_back(parameter->gradient.clone());
  }
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    // A parameter and its copies change together.
    const auto set = [&](std::int64_t index, double value) {
      for (Parameter* const other : parameters) {
        if (other->name == parameters[p]->name) {
          other->value.mutable_data_ptr<double>()[index] = value;
        }
      }
    };
    const auto* values = parameters[p]->value.const_data_ptr<double>();
    const auto* gradient = gradients[p].const_data_ptr<double>();
    for (std::int64_t i = 0; i < parameters[p]->numel(); i += 1 + parameters[p]->numel() / 9) {
      const double value = values[i];
      set(i, value + kStep);
      const double above = run.accumulate_gradients(batches).loss;
      set(i, value - kStep);
      const double below = run.accumulate_gradients(batches).loss;
      set(i, value);
      EXPECT_NEAR(gradient[i], (above - below) / (2.0 * kStep), 1e-7)
          << parameters[p]->name << " " << i;
    }
  }
}

TEST(LlamaTest, GradientsOfTheWholeModelEqualFiniteDifferences) {
  expect_finite_differences(tiny());
}

TEST(LlamaTest, ATiedHeadAddsBothGradientsOfItsMatrix) {
  LlamaConfig config = tiny();
  config.has_tied_head = true;
  expect_finite_differences(config);
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
