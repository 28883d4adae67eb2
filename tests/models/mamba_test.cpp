// The Mamba model: which sizes it refuses, its parameters, their names and first values.
#include "halfback/models/mamba.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/model_checks.h"
#include "tests/support/parameter_numbers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace halfback {
namespace {

MambaConfig tiny() {
  return {.num_layers = 2,
          .width = 8,
          .state_size = 3,
          .conv_size = 4,
          .expand = 2,
          .dt_rank = 2,
          .sequence = 5,
          .vocabulary = 11};
}

MicroBatch batch_of(const MambaConfig& config, std::uint64_t key) {
  return token_batch(config.sequence, config.vocabulary, key);
}

PlainRun plain_run(const MambaConfig& config) {
  return plain_run_of(build_mamba(config, {static_cast<int>(config.num_layers)}, at::kDouble));
}

std::string refusal(const MambaConfig& config) {
  return text_of_thrown<ConfigError>([&] { check(config); });
}

TEST(MambaTest, RefusesSizesOutOfRangeByTheirOption) {
  const std::vector<std::pair<std::string, std::int64_t MambaConfig::*>> sizes = {
      {"layers", &MambaConfig::num_layers},     {"width", &MambaConfig::width},
      {"state-size", &MambaConfig::state_size}, {"conv-size", &MambaConfig::conv_size},
      {"expand", &MambaConfig::expand},         {"sequence", &MambaConfig::sequence},
      {"vocabulary", &MambaConfig::vocabulary},
  };
  for (const auto& [name, member] : sizes) {
    for (const std::int64_t size : {std::int64_t{0}, std::int64_t{-3}, std::int64_t{1} << 40}) {
      MambaConfig config = tiny();
      config.*member = size;
      EXPECT_EQ(refusal(config), "model: --" + name + " is " + std::to_string(size) +
                                     "; expected a number from 1 to 16777216");
    }
  }
  MambaConfig config = tiny();
  config.dt_rank = -1;
  EXPECT_EQ(refusal(config), "model: --dt-rank is -1; expected a number from 1 to 16777216");
  config.dt_rank = 0;
  EXPECT_NO_THROW(check(config));
}

TEST(MambaTest, RefusesAnEpsilonThatIsNotPositive) {
  for (const double wrong : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity()}) {
    MambaConfig config = tiny();
    config.norm_epsilon = wrong;
    EXPECT_TRUE(contains(refusal(config), "model: --norm-epsilon is ")) << wrong;
  }
}

TEST(MambaTest, RankOfTheStepIsASixteenthOfTheWidthUnlessGiven) {
  EXPECT_EQ(step_rank({.width = 256}), 16);
  EXPECT_EQ(step_rank({.width = 257}), 17);
  EXPECT_EQ(step_rank({.width = 1}), 1);
  EXPECT_EQ(step_rank({.width = 256, .dt_rank = 3}), 3);
}

TEST(MambaTest, NumParametersIsTheSumOverAllParameters) {
  std::vector<MambaConfig> configs(4, tiny());
  configs[1].expand = 3;
  configs[2].has_tied_head = true;
  configs[3] = MambaConfig{};
  for (const MambaConfig& config : configs) {
    std::int64_t sum = 0;
    const auto stages = build_mamba(config, {static_cast<int>(config.num_layers)});
    for (const Parameter* parameter : all_parameters(stages)) {
      sum += parameter->is_copy ? 0 : parameter->numel();
    }
    EXPECT_EQ(num_parameters(config), sum);
  }
}

TEST(MambaTest, NamesAndShapesInACheckpointAreThoseOfHuggingFace) {
  std::map<std::string, std::vector<std::int64_t>> expected = {
      {"backbone.embeddings.weight", {11, 8}},
      {"backbone.norm_f.weight", {8}},
      {"lm_head.weight", {11, 8}}};
  for (const std::string block : {"backbone.layers.0.", "backbone.layers.1."}) {
    expected[block + "norm.weight"] = {8};
    expected[block + "mixer.in_proj.weight"] = {32, 8};
    expected[block + "mixer.conv1d.weight"] = {16, 1, 4};
    expected[block + "mixer.conv1d.bias"] = {16};
    expected[block + "mixer.x_proj.weight"] = {8, 16};
    expected[block + "mixer.dt_proj.weight"] = {16, 2};
    expected[block + "mixer.dt_proj.bias"] = {16};
    expected[block + "mixer.A_log"] = {16, 3};
    expected[block + "mixer.D"] = {16};
    expected[block + "mixer.out_proj.weight"] = {8, 16};
  }
  EXPECT_EQ(checkpoint_shapes(build_mamba(tiny(), {2})), expected);
  EXPECT_EQ(checkpoint_shapes(build_mamba(tiny(), {1, 1})), expected);
  MambaConfig tied = tiny();
  tied.has_tied_head = true;
  expected.erase("lm_head.weight");
  EXPECT_EQ(checkpoint_shapes(build_mamba(tied, {2})), expected);
}

TEST(MambaTest, MatricesDecayButForTheRates) {
  const auto stages = build_mamba(tiny(), {2});
  for (const Parameter* parameter : all_parameters(stages)) {
    const bool is_rate = parameter->name.ends_with("A_log");
    EXPECT_EQ(parameter->decays, parameter->shape.size() > 1 && !is_rate) << parameter->name;
  }
}

TEST(MambaTest, StagesHaveTheirBlocksAndTheEndsOfTheModel) {
  MambaConfig config = tiny();
  config.num_layers = 6;
  const auto stages = build_mamba(config, {3, 1, 2});
  ASSERT_EQ(stages.size(), 3U);
  EXPECT_EQ(stages[0].layers.size(), 1U + 3);
  EXPECT_EQ(stages[1].layers.size(), 1U);
  EXPECT_EQ(stages[2].layers.size(), 2U);
  EXPECT_EQ(stages[0].loss, nullptr);
  EXPECT_NE(stages[2].loss, nullptr);
}

TEST(MambaTest, ACutOfOtherLayersIsOurMistake) {
  EXPECT_THROW(build_mamba(tiny(), {1, 2}), std::logic_error);
}

// The values that training starts with, by the end of the parameter's name.
std::vector<double> first_values(const MambaConfig& config, const std::string& name) {
  PlainRun run = plain_run(config);
  run.initialize(5);
  std::vector<double> values;
  for (const Parameter* parameter : run.stage().store().parameters()) {
    if (parameter->name.ends_with(name)) {
      const auto* data = parameter->value.const_data_ptr<double>();
      values.insert(values.end(), data, data + parameter->numel());
    }
  }
  return values;
}

TEST(MambaTest, RatesStartAsOneToTheNumberOfStates) {
  const std::vector<double> values = first_values(tiny(), "A_log");
  ASSERT_EQ(values.size(), 2U * 16 * 3);
  for (std::size_t i = 0; i < values.size(); ++i) {
    EXPECT_EQ(values[i], std::log(static_cast<double>(i % 3 + 1)));
  }
}

TEST(MambaTest, StepsStartSpreadFromAThousandthToATenth) {
  const std::vector<double> values = first_values({.num_layers = 4, .width = 64}, "dt_proj.bias");
  double sum = 0.0;
  for (const double value : values) {
    const double step = std::log1p(std::exp(value));
    EXPECT_GE(step, 1e-3 * (1.0 - 1e-9));
    EXPECT_LE(step, 1e-1 * (1.0 + 1e-9));
    sum += std::log10(step);
  }
  EXPECT_NEAR(sum / static_cast<double>(values.size()), -2.0, 0.1);
}

TEST(MambaTest, MatricesStartUniformAndTheOutputSmallerInDeepModels) {
  const MambaConfig config{.num_layers = 4, .width = 64, .dt_rank = 4};
  const auto expect_uniform = [&](const std::string& name, double half_width) {
    double largest = 0.0;
    double squares = 0.0;
    const std::vector<double> values = first_values(config, name);
    for (const double value : values) {
      largest = std::max(largest, std::abs(value));
      squares += value * value;
    }
    EXPECT_LE(largest, half_width) << name;
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(values.size())),
                half_width / std::sqrt(3.0), 0.05 * half_width)
        << name;
  };
  expect_uniform("in_proj.weight", 1.0 / 8.0);
  expect_uniform("conv1d.weight", 1.0 / 2.0);
  expect_uniform("x_proj.weight", 1.0 / std::sqrt(128.0));
  expect_uniform("dt_proj.weight", 1.0 / 2.0);
  expect_uniform("out_proj.weight", 0.5 / std::sqrt(128.0));
}

TEST(MambaTest, FirstValuesDoNotDependOnTheCut) {
  const auto values_of = [](const std::vector<int>& cut) {
    auto stages = build_mamba(tiny(), cut);
    std::vector<float> values;
    std::uint64_t first = 0;
    for (const StageLayers& stage : stages) {
      ParameterStore store(stage.parameters(), {});
      store.initialize(9, testing::numbers_from(first, store));
      first += store.parameters().size();
      for (const Parameter* parameter : store.parameters()) {
        const auto* data = parameter->value.const_data_ptr<float>();
        values.insert(values.end(), data, data + parameter->numel());
      }
    }
    return values;
  };
  EXPECT_EQ(values_of({2}), values_of({1, 1}));
}

TEST(MambaTest, GradientsOfTheWholeModelEqualFiniteDifferences) {
  expect_finite_differences(plain_run(tiny()), {batch_of(tiny(), 1), batch_of(tiny(), 2)});
}

TEST(MambaTest, ATiedHeadAddsBothGradientsOfItsMatrix) {
  MambaConfig config = tiny();
  config.has_tied_head = true;
  expect_finite_differences(plain_run(config), {batch_of(config, 1), batch_of(config, 2)});
}

TEST(MambaTest, Learns) {
  PlainRun run = plain_run(tiny());
  run.initialize(3);
  const std::vector<MicroBatch> batches = {batch_of(tiny(), 1)};
  const double first = run.train_step(batches, 1, 1e-2).loss;
  double last = first;
  for (int step = 2; step <= 60; ++step) {
    last = run.train_step(batches, step, 1e-2).loss;
  }
  EXPECT_LT(last, 0.5 * first);
}

}  // namespace
}  // namespace halfback
