// Warm-up, half a cosine, floor.
#include "halfback/train/learning_rate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace halfback {
namespace {

constexpr LearningRate kRate{.peak = 2e-3, .floor_fraction = 0.1, .warmup_steps = 10};
constexpr int kSteps = 110;

TEST(LearningRateTest, RisesInEqualStepsToThePeak) {
  for (int step = 1; step <= 10; ++step) {
    EXPECT_DOUBLE_EQ(kRate.at(step, kSteps), 2e-3 * step / 10.0);
  }
}

TEST(LearningRateTest, FollowsHalfACosineAfterwards) {
  for (const int step : {11, 35, 60, 85, 109}) {
    const double cosine = std::cos(std::numbers::pi * (step - 10) / 100.0);
    EXPECT_DOUBLE_EQ(kRate.at(step, kSteps), 2e-3 * (0.1 + 0.9 * 0.5 * (1.0 + cosine)));
  }
  EXPECT_DOUBLE_EQ(kRate.at(60, kSteps), 2e-3 * 0.55);
}

TEST(LearningRateTest, EndsAtTheFloorAndStaysThere) {
  EXPECT_DOUBLE_EQ(kRate.at(110, kSteps), 2e-4);
  EXPECT_DOUBLE_EQ(kRate.at(5000, kSteps), 2e-4);
}

TEST(LearningRateTest, NeverRisesAfterTheWarmUp) {
  for (int step = 11; step <= 110; ++step) {
    EXPECT_LT(kRate.at(step, kSteps), kRate.at(step - 1, kSteps));
  }
}

TEST(LearningRateTest, WithoutWarmUpTheFirstStepIsNearThePeak) {
  const LearningRate rate{.peak = 1.0, .floor_fraction = 0.0, .warmup_steps = 0};
  EXPECT_DOUBLE_EQ(rate.at(1, 4), 0.5 * (1.0 + std::cos(std::numbers::pi / 4)));
  EXPECT_DOUBLE_EQ(rate.at(2, 4), 0.5);
  EXPECT_NEAR(rate.at(4, 4), 0.0, 1e-15);
}

TEST(LearningRateTest, AFloorOfOneIsAConstantRate) {
  const LearningRate rate{.peak = 3.0, .floor_fraction = 1.0, .warmup_steps = 0};
  for (int step = 1; step <= 9; ++step) {
    EXPECT_DOUBLE_EQ(rate.at(step, 7), 3.0);
  }
}

TEST(LearningRateTest, FallsInEqualStepsOrStaysAfterSome) {
  LearningRate rate{.peak = 2.0,
                    .floor_fraction = 0.25,
                    .warmup_steps = 10,
                    .decay = Decay::Linear,
                    .decay_steps = 40};
  for (int step = 11; step <= 50; ++step) {
    EXPECT_DOUBLE_EQ(rate.at(step, 500), 2.0 - 1.5 * (step - 10) / 40.0);
  }
  EXPECT_DOUBLE_EQ(rate.at(51, 500), 0.5);
  EXPECT_DOUBLE_EQ(rate.at(500, 500), 0.5);
  rate.decay_steps = 0;
  EXPECT_DOUBLE_EQ(rate.at(255, 500), 1.25);
  EXPECT_DOUBLE_EQ(rate.at(500, 500), 0.5);
  rate.decay = Decay::Cosine;
  rate.decay_steps = 40;
  EXPECT_DOUBLE_EQ(rate.at(30, 500), 1.25);
  EXPECT_DOUBLE_EQ(rate.at(51, 500), 0.5);
}

TEST(LearningRateTest, AWarmUpLongerThanTheRunNeverReachesThePeak) {
  const LearningRate rate{.peak = 1.0, .floor_fraction = 0.1, .warmup_steps = 20};
  EXPECT_DOUBLE_EQ(rate.at(10, 10), 0.5);
  EXPECT_DOUBLE_EQ(rate.at(20, 10), 1.0);
  EXPECT_DOUBLE_EQ(rate.at(21, 10), 0.1);
}

}  // namespace
}  // namespace halfback
