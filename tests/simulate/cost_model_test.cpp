#include "halfback/simulate/cost_model.h"

#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;

TEST(CostModelTest, ReadsThreeOrFourNumbers) {
  const StageCost cost = parse_costs("1, 2.5,0.5").stage(7);
  EXPECT_EQ(cost.of(ActionKind::Forward), 1.0);
  EXPECT_EQ(cost.of(ActionKind::BackwardInput), 2.5);
  EXPECT_EQ(cost.of(ActionKind::BackwardWeight), 0.5);
  EXPECT_EQ(cost.of(ActionKind::Backward), 3.0);
  EXPECT_EQ(cost.of(ActionKind::SendForward), 0.0);
  EXPECT_EQ(parse_costs("1,2,3,4").stage(0).of(ActionKind::Backward), 4.0);
}

TEST(CostModelTest, RefusesOtherText) {
  for (const char* text : {"", "1,1", "1,1,1,1,1", "1,x,1", "1,-1,1", "1,nan,1", "inf,1,1"}) {
    EXPECT_TRUE(has_text(error_of([&] { parse_costs(text); }), "cost: ")) << text;
  }
}

TEST(CostModelTest, UniformCostsAreOfOneShareOfTheModel) {
  const StageCost share{.forward = 4, .input = 8, .weight = 2, .full = 9, .update = 6};
  EXPECT_EQ(uniform_costs(share, testing::family("gpipe", 4)).stage(0).forward, 4);
  const Schedule folded = testing::parse(
      "# halfback schedule micro_batches=1 placement=0,1,1,0\n0F0,3F0,3B0,0B0\n1F0,2F0,2B0,1B0\n");
  const StageCost half = uniform_costs(share, folded).stage(3);
  EXPECT_EQ(half.forward, 2);
  EXPECT_EQ(half.input, 4);
  EXPECT_EQ(half.weight, 1);
  EXPECT_EQ(half.full, 4.5);
  EXPECT_EQ(half.update, 3);
  // The whole model takes the same time.
  EXPECT_EQ(simulate(folded, uniform_costs(share, folded)).makespan,
            simulate(testing::family("naive", 2, false),
                     uniform_costs(share, testing::family("naive", 2, false)))
                .makespan);
}

TEST(CostModelTest, RanksOfASecondCopyAreNoShareOfTheFirst) {
  Placement apart{.replicas = {{0, 1, 0, 1}, {2, 3, 2, 3}}, .replica_of_micro_batch = {0, 1}};
  EXPECT_EQ(ranks_per_replica(apart), 2);
  EXPECT_EQ(ranks_per_replica(mirrored(looped_placement(4), 4, {0, 1})), 4);
  const Schedule schedule{.num_micro_batches = 2, .placement = apart, .ranks = {{}, {}, {}, {}}};
  EXPECT_EQ(uniform_costs({.forward = 4}, schedule).stage(0).forward, 2);
}

TEST(CostModelTest, RefusesWhatDoesNotFitTheSchedule) {
  const Schedule schedule = testing::family("gpipe", 2);
  const auto fault = [&](const CostModel& costs) {
    return error_of([&] { costs.check(schedule); });
  };
  EXPECT_TRUE(
      has_text(fault({.stages = std::vector<StageCost>(3)}),
               "cost: costs of 3 stages for a schedule of 2; give one for all or one per stage"));
  EXPECT_TRUE(has_text(fault({.latency = -1}), "latency is -1"));
  EXPECT_TRUE(has_text(fault({.bandwidth = 0}), "bandwidth is 0"));
  EXPECT_TRUE(has_text(fault({.links = {{.from = 1, .to = 2}}}),
                       "cost: a link from rank 1 to 2; the ranks are 0 to 1"));
  EXPECT_TRUE(has_text(fault({.rank_speed = {1, 1, 1}}), "speeds of 3 ranks for a schedule of 2"));
  EXPECT_TRUE(has_text(fault({.rank_speed = {1, -1}}), "rank_speed is -1"));
}

}  // namespace
}  // namespace halfback
