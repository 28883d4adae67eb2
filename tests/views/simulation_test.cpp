#include "halfback/views/simulation.h"

#include "halfback/base/error.h"
#include "halfback/schedule/families.h"
#include "halfback/views/page.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace halfback {
namespace {

Schedule zb_v() { return build_schedule("zb-v", {.num_ranks = 4, .num_micro_batches = 8}); }

std::string error_of(const Schedule& schedule, const SimulationRequest& request) {
  try {
    simulate_all(schedule, request);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(SimulationTest, ASharedCostIsThatOfItsStages) {
  const SimulationRequest share{.costs = {.costs = parse_costs("1,1.5,0.5")}};
  const SimulationRequest stages{.costs = {.costs = parse_costs("0.5,0.75,0.25")},
                                 .costs_are_share = false};
  EXPECT_EQ(simulate_all(zb_v(), share).result.makespan,
            simulate_all(zb_v(), stages).result.makespan);
}

TEST(SimulationTest, AddsMessagesOnlyWhereTheyHoldUpRanks) {
  EXPECT_FALSE(simulate_all(zb_v(), {}).messages_added);
  const Simulation held = simulate_all(zb_v(), {.channel = kRendezvous});
  EXPECT_TRUE(held.messages_added);
  EXPECT_TRUE(has_messages(held.schedule));
  SimulationRequest occupied;
  occupied.costs.costs.occupies_sender = true;
  EXPECT_TRUE(simulate_all(zb_v(), occupied).messages_added);
}

TEST(SimulationTest, GivesMessagesTheBytesOfTheMemory) {
  const StageBytes bytes{.activation_message = 8, .gradient_message = 8};
  const SimulationRequest request{.bandwidth = 8.0, .memory = MemoryModel{.stages = {bytes}}};
  const Simulation done = simulate_all(zb_v(), request);
  EXPECT_EQ(done.costs.stages.front().activation_bytes, 8.0);
  EXPECT_GT(done.result.makespan, simulate_all(zb_v(), {}).result.makespan);
  EXPECT_EQ(done.constant.size(), 4U);
  EXPECT_NE(error_of(zb_v(), {.bandwidth = 8.0}).find("without the bytes of messages"),
            std::string::npos);
}

TEST(SimulationTest, RefusesAStepThatNoDrawingHasRoomFor) {
  const SimulationRequest request{.costs = {.costs = parse_costs("1e300,1,1")}};
  EXPECT_NE(error_of(zb_v(), request).find("expected 1e+12 or less"), std::string::npos);
}

TEST(SimulationTest, RepeatsSteps) {
  const Schedule schedule =
      build_schedule("1f1b", {.num_ranks = 4, .num_micro_batches = 8, .stage_updates = true});
  const Simulation done = simulate_all(schedule, {.repeat = 3});
  ASSERT_TRUE(done.steady.has_value());
  EXPECT_EQ(done.schedule.num_micro_batches, 24);
  EXPECT_NE(error_of(zb_v(), {.repeat = 3}), "");
}

TEST(SimulationTest, TheCriticalPathEndsWithTheStep) {
  const Simulation done = simulate_all(zb_v(), {.latency = 0.25});
  const auto path = critical_spans(done.result.timeline, done.schedule, done.costs, done.options);
  ASSERT_FALSE(path.empty());
  EXPECT_EQ(done.result.timeline.spans[path.back()].end_seconds, done.result.makespan);
}

}  // namespace
}  // namespace halfback
