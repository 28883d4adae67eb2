#include "halfback/simulate/simulator.h"

#include "halfback/schedule/passes.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;
using testing::parse;

TEST(SimulatorTest, LatencyDelaysHopsBetweenRanksOnly) {
  const CostModel costs{.latency = 0.5};
  EXPECT_EQ(simulate(testing::family("naive", 3), costs).makespan, 7 + 4 * 0.5);
  EXPECT_EQ(simulate(parse("0F0,1F0,1B0,0B0\n"), costs).makespan, 6);
}

TEST(SimulatorTest, CostsMayDifferByStage) {
  CostModel costs{.stages = {{.forward = 1}, {.forward = 5}}};
  EXPECT_EQ(simulate(testing::family("gpipe", 2), costs).makespan, 1 + 10 + 2 + 1 + 2);
}

TEST(SimulatorTest, FullBackwardMayCostLessThanItsHalves) {
  EXPECT_EQ(simulate(parse("0F0,0B0\n"), parse_costs("1,1,1,1.5")).makespan, 2.5);
}

TEST(SimulatorTest, UpdatesTakeTheirTime) {
  CostModel costs;
  costs.stages[0].update = 4.0;
  EXPECT_EQ(simulate(parse("0F0,0B0,0U\n"), costs).makespan, 7.0);
}

TEST(SimulatorTest, EarlyReceiveHoldsUpItsRank) {
  // Rank 1 could run 2F0 of its own second stage... only after 1F1 if it receives that one first.
  const std::string sender = "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n";
  const double late =
      simulate(parse(sender + "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1\n"),
               {.latency = 2})
          .makespan;
  const double early =
      simulate(parse(sender + "1RECV_F0,1RECV_F1,1F0,1B0,1SEND_B0,1F1,1B1,1SEND_B1\n"),
               {.latency = 2})
          .makespan;
  EXPECT_EQ(early - late, 1.0);
}

TEST(SimulatorTest, ReceiveSpansAreWaitsAndNotBusy) {
  const SimulationResult result = simulate(add_communication(testing::family("naive", 2)), {});
  const Span& receive = result.timeline.spans[5];
  EXPECT_EQ(to_string(receive.action), "1RECV_F0");
  EXPECT_EQ(receive.start_seconds, 0.0);
  EXPECT_EQ(receive.end_seconds, 1.0);
  EXPECT_EQ(result.busy, (std::vector<double>{3.0, 3.0}));
}

TEST(SimulatorTest, RefusesWhatDoesNotRunAndWrongCosts) {
  EXPECT_TRUE(has_text(error_of([] { simulate(parse("0F0,0W0,0I0\n"), {}); }), "0W0 comes before"));
  const CostModel three{.stages = std::vector<StageCost>(3)};
  EXPECT_TRUE(has_text(error_of([&] { simulate(testing::family("gpipe", 2), three); }),
                       "costs of 3 stages for a schedule of 2"));
}

}  // namespace
}  // namespace halfback
