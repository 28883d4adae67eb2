// Numbers that others have printed for families that are here.
#include "halfback/schedule/passes.h"
#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

Schedule one_backward(const char* name, int num_ranks, int num_micro_batches) {
  return build_schedule(
      name, {.num_ranks = num_ranks, .num_micro_batches = num_micro_batches, .two_stage = false});
}

// Rate of the step as papers state it: 1 - time that a rank computes / step.
double rate(const Schedule& schedule, const CostModel& costs) {
  const double step = simulate(schedule, costs).makespan;
  EXPECT_EQ(simulate(add_communication(schedule), costs).makespan, step);
  const StageCost& cost = costs.stage(0);
  return 1 - schedule.num_micro_batches * (cost.forward + cost.input + cost.weight) / step;
}

// Qi et al., "Zero Bubble Pipeline Parallelism", ICLR 2024, arXiv 2401.10241: profile of the model
// of 1.5 billion parameters on 8 ranks (F, B, W, hop in ms), and the rate of 1F1B from it.
TEST(PublishedTest, OneForwardOneBackwardOfZeroBubblesProfile) {
  const CostModel profile{.stages = {{.forward = 18.522, .input = 18.086, .weight = 9.337}},
                          .latency = 0.601};
  EXPECT_NEAR(rate(one_backward("1f1b", 8, 24), profile), 0.2431, 5e-5);
}

// Idle units of a rank for F = I = W = 1, whatever the number of micro-batches: 3 (N - 1).
TEST(PublishedTest, IdleTimeOfGpipeAndOneForwardOneBackward) {
  for (const char* name : {"gpipe", "1f1b"}) {
    for (const auto& [ranks, micro_batches, idle] :
         {std::tuple{4, 4, 9}, {4, 8, 9}, {8, 8, 21}, {8, 16, 21}, {8, 24, 21}}) {
      const Schedule schedule = one_backward(name, ranks, micro_batches);
      EXPECT_EQ(simulate(schedule, {}).makespan - 3 * micro_batches, idle) << name;
      // Neither gains when ranks update on their own: the first rank begins and ends the step.
      EXPECT_EQ(simulate(schedule, {}).stage_step, simulate(schedule, {}).makespan) << name;
      EXPECT_EQ(activation_peaks(schedule)[0],
                std::string(name) == "gpipe" ? micro_batches : ranks);
    }
  }
}

TEST(PublishedTest, SensitivityOfOneForwardOneBackwardToLatency) {
  const Schedule schedule = one_backward("1f1b", 8, 16);
  EXPECT_NEAR(rate(schedule, {.latency = 0.0}), 0.304, 5e-4);
  EXPECT_NEAR(rate(schedule, {.latency = 0.2}), 0.377, 5e-4);
  EXPECT_NEAR(rate(schedule, {.latency = 0.5}), 0.461, 5e-4);
}

}  // namespace
}  // namespace halfback
