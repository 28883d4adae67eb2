// Costs of stages without a command line: what a planner or another program asks for.
#include "halfback/measure/profile.h"

#include "halfback/base/error.h"
#include "halfback/models/cut.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_training.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

TEST(ProfileTest, MeasuresEachStageAndStatesItsBytes) {
  TrainingConfig config;
  config.model = testing::tiny_llama();
  config.micro_batch_size = 2;
  std::int64_t num_heard = 0;
  const Profile found = profile(
      config, {.num_ranks = 2, .num_stages = 4, .rounds = {.num_measured = 2, .num_warmup = 1}},
      [&](std::int64_t done, std::int64_t total) {
        EXPECT_EQ(done, ++num_heard);
        EXPECT_EQ(total, 3);
      });
  EXPECT_EQ(num_heard, 3);
  ASSERT_EQ(found.file.costs.stages.size(), 4U);
  const auto expected = stage_bytes(build_model(config.model, equal_cut(4, 4)),
                                    {.input_shape = input_shape(config.model, 2)});
  for (std::size_t stage = 0; stage < 4; ++stage) {
    EXPECT_EQ(found.file.memory->stages[stage], expected[stage]) << stage;
  }
  // F, I, W, B and U of each.
  EXPECT_EQ(found.costs.size(), 20U);
}

// Of a window of two: I of both gradients of a stage in the middle, and the heads' bytes.
TEST(ProfileTest, MeasuresLossesInsideTheModelWithTheirHeads) {
  TrainingConfig config;
  config.model = testing::tiny_llama();
  config.local_head = LocalHead::Shared;
  const Losses losses(4, parse_losses("1:0,2:1,3:2").value());
  const Profile found = profile(config,
                                {.num_ranks = 4,
                                 .num_stages = 4,
                                 .losses = losses,
                                 .rounds = {.num_measured = 1, .num_warmup = 0}},
                                [](auto, auto) {});
  std::vector<int> stages_with_own_input;
  for (const ActionCost& cost : found.costs) {
    if (cost.is_of_own_loss) {
      EXPECT_EQ(cost.kind, ActionKind::BackwardInput);
      stages_with_own_input.push_back(cost.stage);
    }
  }
  EXPECT_EQ(stages_with_own_input, (std::vector<int>{1, 2}));
  EXPECT_GT(found.file.costs.stages[1].own_input.value_or(0.0), 0.0);
  for (const std::size_t stage : {0U, 1U, 2U, 3U}) {
    EXPECT_EQ(found.file.memory->stages[stage].head != HeadBytes{}, stage > 0);
  }
  config.local_loss = LocalLoss::PredSim;
  EXPECT_EQ(
      text_of_thrown<ConfigError>(
          [&] { profile(config, {.num_ranks = 4, .num_stages = 4}, [](auto, auto) {}); }),
      "--local-head shared: the schedule has no loss inside the model; leave it out, or use a "
      "schedule of local updates, or --losses");
}

TEST(ProfileTest, RefusesARequestWithoutRounds) {
  TrainingConfig config;
  config.model = testing::tiny_llama();
  EXPECT_EQ(text_of_thrown<ConfigError>(
                [&] { profile(config, {.rounds = {.num_measured = 0}}, [](auto, auto) {}); }),
            "--rounds is 0; expected 1 or more");
}

}  // namespace
}  // namespace halfback
