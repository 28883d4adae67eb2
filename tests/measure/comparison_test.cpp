// The same steps under several schedules, asked for by a program.
#include "halfback/measure/comparison.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/tiny_training.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace halfback {
namespace {

TrainingConfig tiny() {
  TrainingConfig config;
  config.model = testing::tiny_llama();
  config.micro_batch_size = 2;
  return config;
}

TEST(ComparisonTest, HasARowForEachKindOfBackward) {
  ComparisonRequest request{.schedules = {"gpipe", "zb-h1"},
                            .rounds = {.num_measured = 2, .num_warmup = 1}};
  request.shape.num_ranks = 2;
  const auto rows = compare(tiny(), request, [](auto, auto) {});
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_FALSE(rows[0].two_stage);
  EXPECT_TRUE(rows[1].two_stage);
  EXPECT_EQ(rows[2].schedule, "zb-h1");
  for (const ComparisonRow& row : rows) {
    EXPECT_TRUE(row.is_bit_equal) << row.schedule;
    EXPECT_EQ(row.activation_bytes, row.predicted_activation_bytes) << row.schedule;
    EXPECT_GT(row.step_seconds, 0.0);
  }
}

// The gradients of the same losses on one rank take the place of the plain run's.
TEST(ComparisonTest, KnowsLossesInsideTheModel) {
  ComparisonRequest request{.schedules = {"local-greedy", "local-interlocking", "local-last"},
                            .rounds = {.num_measured = 2, .num_warmup = 1}};
  request.shape.num_ranks = 2;
  const auto rows = compare(tiny(), request, [](auto, auto) {});
  ASSERT_EQ(rows.size(), 6U);
  for (const ComparisonRow& row : rows) {
    EXPECT_TRUE(row.is_bit_equal) << row.schedule;
    EXPECT_EQ(row.activation_bytes, row.predicted_activation_bytes) << row.schedule;
    EXPECT_GT(row.step_over_simulated, 0.0);
  }
  for (const std::size_t fused : {0U, 2U, 4U}) {
    EXPECT_FALSE(rows[fused].two_stage) << "where one gradient passes, as on the last stage";
    EXPECT_TRUE(rows[fused + 1].two_stage);
  }
}

// Each family gets the parameters that it takes, and only those with several blocks have queues.
TEST(ComparisonTest, GivesFamiliesWhatTheyTake) {
  ComparisonRequest request{.schedules = {"backprop", "greedy", "chunked"},
                            .rounds = {.num_measured = 2, .num_warmup = 1}};
  request.shape.num_ranks = 2;
  request.shape.num_micro_batches = 3;
  request.shape.two_stage = true;
  request.shape.queues = "2";
  const auto chunks = std::ranges::find(family_parameters(), "--chunks", &FamilyParameter::option);
  request.shape.parameters[&*chunks] = 2;
  const auto rows = compare(tiny(), request, [](auto, auto) {});
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows[1].activation_bytes, rows[2].activation_bytes) << "chunks of one stage are greedy";
  for (const ComparisonRow& row : rows) {
    EXPECT_TRUE(row.is_bit_equal && row.two_stage) << row.schedule;
    EXPECT_EQ(row.activation_bytes, row.predicted_activation_bytes) << row.schedule;
  }
  request.schedules = {"backprop", "greedy"};
  EXPECT_EQ(text_of_thrown<ConfigError>([&] { compare(tiny(), request, [](auto, auto) {}); }),
            "compare: no schedule takes --chunks; there are backprop, greedy; leave it out");
}

TEST(ComparisonTest, RefusesWhatCannotRun) {
  const auto refusal = [](const ComparisonRequest& request, const TrainingConfig& config) {
    return text_of_thrown<Error>([&] { compare(config, request, [](auto, auto) {}); });
  };
  EXPECT_TRUE(contains(refusal({.schedules = {"no-such"}}, tiny()), "unknown family 'no-such'"));
  EXPECT_EQ(refusal({.schedules = {"gpipe"}, .channel_capacity = 0}, tiny()),
            "--channel-capacity is 0; expected 1 or more");
  TrainingConfig wild = tiny();
  wild.pipeline.stage.optimizer.beta1 = 2.0;
  EXPECT_EQ(refusal({.schedules = {"gpipe"}}, wild), "--beta1 is 2; expected 0 to below 1");
}

}  // namespace
}  // namespace halfback
