#include "halfback/measure/run_estimate.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

TEST(RunEstimateTest, AddsWhatARunConsistsOf) {
  const RunEstimate estimate{.setup = {1.0, 2.0},
                             .step = {0.5, 0.75},
                             .evaluation = {0.25, 0.125},
                             .flops_per_step = 10.0};
  const Duration run = estimate.run(8, 2);
  EXPECT_EQ(run.seconds, 1.0 + 4.0 + 0.5);
  EXPECT_EQ(run.cpu_seconds, 2.0 + 6.0 + 0.25);
}

TEST(RunEstimateTest, EvaluationsAreThoseOfTheIntervalAndTheLast) {
  TrainingConfig config{.num_steps = 10, .evaluate_every = 4};
  EXPECT_EQ(num_evaluations(config), 3);
  config.evaluate_every = 5;
  EXPECT_EQ(num_evaluations(config), 2);
  config.evaluate_every = 0;
  EXPECT_EQ(num_evaluations(config), 0);
}

}  // namespace
}  // namespace halfback
