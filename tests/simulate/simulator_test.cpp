#include "halfback/simulate/simulator.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "halfback/timeline/chrome_trace.h"
#include "halfback/timeline/statistics.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

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

// Rank 0 makes and sends two activations; rank 1 takes them.
constexpr const char* kTwoMessages =
    "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n"
    "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1\n";

const Span& span_of(const SimulationResult& result, const std::string& action) {
  for (const Span& span : result.timeline.spans) {
    if (to_string(span.action) == action) {
      return span;
    }
  }
  throw std::runtime_error("no span of " + action);
}

StageCost with_bytes(double activation) {
  return {.forward = 1, .input = 1, .weight = 1, .activation_bytes = activation};
}

TEST(SimulatorTest, ALinkCarriesOneMessageAtATime) {
  const CostModel costs{.stages = {with_bytes(30)}, .latency = 0.5, .bandwidth = 10};
  const SimulationResult result = simulate(parse(kTwoMessages), costs);
  EXPECT_EQ(span_of(result, "1RECV_F0").end_seconds, 1 + 3 + 0.5);
  // Sent at 2, the second message waits for its link until 4.
  EXPECT_EQ(span_of(result, "0SEND_F1").end_seconds, 2);
  EXPECT_EQ(span_of(result, "1F1").start_seconds, 4 + 3 + 0.5);
  EXPECT_EQ(result.makespan, simulate(remove_communication(parse(kTwoMessages)), costs).makespan);
}

TEST(SimulatorTest, OccupiedSendersWaitForTheirMessages) {
  CostModel costs{.stages = {with_bytes(30)}, .latency = 0.5, .bandwidth = 10};
  costs.occupies_sender = true;
  const SimulationResult result = simulate(parse(kTwoMessages), costs);
  EXPECT_EQ(span_of(result, "0SEND_F0").end_seconds, 4);
  EXPECT_EQ(span_of(result, "0F1").start_seconds, 4);
  EXPECT_EQ(span_of(result, "1RECV_F0").end_seconds, 4.5);
  EXPECT_EQ(result.busy[0], 6);
}

TEST(SimulatorTest, LinksMayDiffer) {
  CostModel costs{.latency = 1};
  costs.links = {{.from = 0, .to = 1, .latency = 0.25}};
  const SimulationResult result = simulate(testing::family("naive", 2), costs);
  EXPECT_EQ(result.makespan, 5 + 0.25 + 1);
}

TEST(SimulatorTest, ASendWaitsWhileItsChannelIsFull) {
  const std::string slow_taker =
      "0F0,0SEND_F0,0F1,0SEND_F1,0F2,0SEND_F2,0RECV_B0,0B0,0RECV_B1,0B1,0RECV_B2,0B2\n"
      "1RECV_F0,1F0,1RECV_F1,1F1,1RECV_F2,1F2,1B0,1SEND_B0,1B1,1SEND_B1,1B2,1SEND_B2\n";
  const CostModel costs{.stages = {{}, {.forward = 8}}};
  const auto end_of_last_send = [&](ChannelRule rule) {
    return span_of(simulate(parse(slow_taker), costs, {.channel = rule}), "0SEND_F2").end_seconds;
  };
  EXPECT_EQ(end_of_last_send(kBuffered), 3);
  EXPECT_EQ(end_of_last_send({2}), 3);           // 1RECV_F0 made room at 1
  EXPECT_EQ(end_of_last_send({1}), 1 + 8);       // as 1RECV_F1 ends
  EXPECT_EQ(end_of_last_send(kRendezvous), 17);  // with 1RECV_F2
}

TEST(SimulatorTest, BoundedChannelsNeedMessagesAndRefuseWhatStops) {
  EXPECT_TRUE(
      has_text(error_of([] { simulate(testing::family("gpipe", 2), {}, {.channel = {1}}); }),
               "channels are capacity 1, but the schedule has no sends and receives"));
  const Schedule both_send = add_communication(testing::family("1f1b", 2));
  for (const bool validates : {true, false}) {
    EXPECT_TRUE(has_text(error_of([&] {
                           simulate(both_send, {},
                                    {.channel = kRendezvous, .validates = validates});
                         }),
                         "ranks wait for each other"));
  }
}

TEST(SimulatorTest, RanksMayDifferInSpeed) {
  CostModel costs;
  costs.rank_speed = {1, 0.5};
  EXPECT_EQ(simulate(testing::family("naive", 2, false), costs).makespan, 3 + 2 * 3);
  EXPECT_EQ(simulate(testing::family("naive", 2, false), costs).busy, (std::vector<double>{3, 6}));
}

TEST(SimulatorTest, UpdatesFollowTheListsTogetherOrByRank) {
  CostModel costs{.stages = {{.update = 2}, {.update = 1}}};
  const Schedule schedule = testing::family("naive", 2, false);  // rank 1 ends at 4, rank 0 at 6
  const SimulationResult together = simulate(schedule, costs);
  EXPECT_EQ(together.makespan, 8);
  EXPECT_EQ(together.stage_step, 8);
  EXPECT_EQ(together.busy, (std::vector<double>{5, 4}));
  ASSERT_EQ(together.timeline.spans.size(), 6U);
  EXPECT_EQ(to_string(together.timeline.spans[2].action), "0U");
  EXPECT_EQ(to_string(together.timeline.spans[5].action), "1U");
  EXPECT_EQ(together.timeline.spans[5].start_seconds, 6);
  costs.updates = UpdateRule::PerRank;
  const SimulationResult apart = simulate(schedule, costs);
  EXPECT_EQ(apart.timeline.spans[5].start_seconds, 4);
  EXPECT_EQ(apart.makespan, 8);
}

TEST(SimulatorTest, UpdatesInTheListsAreTheOnlyOnes) {
  const CostModel costs{.stages = {{.update = 2}}};
  EXPECT_EQ(simulate(parse("0F0,0B0,0U\n1F0,1B0,1U\n"), costs).timeline.spans.size(), 6U);
}

TEST(SimulatorTest, StageStepIsThePeriodOfOneRank) {
  // Rank 1 is free when rank 0 is busy, and the other way round: both work 3 out of 3 or 6.
  const SimulationResult result = simulate(testing::family("naive", 2, false), {});
  EXPECT_EQ(result.makespan, 6);
  EXPECT_EQ(result.stage_step, 6);
  const SimulationResult relay = simulate(
      parse("# halfback schedule micro_batches=1 placement=0,1\n0F0,0I0,0W0\n1F0,1I0,1W0\n"),
      {.stages = {{.forward = 1, .input = 1, .weight = 1},
                  {.forward = 1, .input = 1, .weight = 4}}});
  EXPECT_EQ(relay.makespan, 7);
  EXPECT_EQ(relay.stage_step, 6);
  EXPECT_EQ(relay.bubble_fraction, 1 - 9.0 / 14);
  EXPECT_EQ(relay.stage_step_bubble_fraction, 1 - 9.0 / 12);
}

TEST(SimulatorTest, SumsAreThoseOfTheTimeline) {
  CostModel costs{.stages = {{.update = 0.5}}, .latency = 0.25};
  for (const std::string& name : family_names()) {
    for (const bool with_messages : {false, true}) {
      const Schedule plain = testing::family(name, 4);
      const Schedule schedule = with_messages ? add_communication(plain) : plain;
      const SimulationResult result = simulate(schedule, costs);
      const Statistics sums = statistics(result.timeline);
      EXPECT_EQ(result.makespan, sums.makespan_seconds) << name;
      EXPECT_EQ(result.stage_step, sums.stage_step_seconds) << name;
      EXPECT_EQ(result.busy, sums.busy_seconds) << name;
      EXPECT_EQ(result.bubble_fraction, sums.bubble_fraction) << name;
      EXPECT_EQ(result.stage_step_bubble_fraction, sums.stage_step_bubble_fraction) << name;
      const SimulationResult bare =
          simulate(schedule, costs, {.validates = false, .keeps_timeline = false});
      EXPECT_TRUE(bare.timeline.spans.empty());
      EXPECT_EQ(bare.makespan, result.makespan) << name;
      EXPECT_EQ(bare.stage_step, result.stage_step) << name;
      EXPECT_EQ(bare.busy, result.busy) << name;
    }
  }
}

TEST(SimulatorTest, NoTrackOfATraceOverlaps) {
  CostModel costs{.stages = {{.forward = 1.23456789e-6, .input = 2.3456789e-6, .weight = 0.7e-6}},
                  .latency = 0.31234567e-6};
  costs.stages.front().update = 0.4567891e-6;
  costs.stages.front().reduce = 3.3333333e-6;
  for (const std::string& name : family_names()) {
    for (const int num_copies : {1, 2}) {
      const Schedule one = testing::family(name, 4);
      if (num_copies > 1 && (one.placement.num_replicas() > 1 || name.starts_with("local"))) {
        continue;
      }
      const Schedule schedule =
          add_communication(num_copies > 1 ? data_parallel(one, num_copies) : one);
      const auto trace = nlohmann::json::parse(to_chrome_trace(simulate(schedule, costs).timeline));
      std::map<int, std::vector<std::pair<std::int64_t, std::int64_t>>> tracks;
      for (const auto& event : trace.at("traceEvents")) {
        if (event.at("ph") == "X") {
          const std::int64_t start = std::llround(event.at("ts").get<double>() * 1e3);
          const std::int64_t length = std::llround(event.at("dur").get<double>() * 1e3);
          tracks[event.at("tid")].emplace_back(start, start + length);
        }
      }
      for (auto& [track, spans] : tracks) {
        std::sort(spans.begin(), spans.end());
        for (std::size_t i = 1; i < spans.size(); ++i) {
          EXPECT_GE(spans[i].first, spans[i - 1].second) << name << ", track " << track;
        }
      }
    }
  }
}

std::string path_text(const Schedule& schedule, const std::vector<Position>& path) {
  std::string text;
  for (const Position& position : path) {
    const auto size = schedule.ranks[static_cast<std::size_t>(position.rank)].size();
    text += text.empty() ? "" : " ";
    text += static_cast<std::size_t>(position.index) < size
                ? to_string(action_at(schedule, position))
                : "update";
  }
  return text;
}

TEST(CriticalPathTest, GoesThroughWhatIsWaitedFor) {
  const Schedule schedule = testing::family("1f1b", 2);
  EXPECT_EQ(path_text(schedule, critical_path(schedule, {})), "0F0 1F0 1I0 0I0 0W0 0I1 0W1");
  const Schedule lowered = add_communication(testing::family("naive", 2));
  EXPECT_EQ(path_text(lowered, critical_path(lowered, {})),
            "0F0 0SEND_F0 1RECV_F0 1F0 1I0 1SEND_B0 0RECV_B0 0I0 0W0");
}

TEST(CriticalPathTest, EndsInUpdates) {
  const Schedule schedule = testing::family("naive", 2, false);
  const CostModel costs{.stages = {{.update = 1}, {.update = 5}}};
  const std::vector<Position> path = critical_path(schedule, costs);
  EXPECT_EQ(path_text(schedule, path), "0F0 1F0 1B0 0B0 update");
  EXPECT_EQ(path.back(), (Position{1, 2}));
}

TEST(CriticalPathTest, AWaitForTheLinkBeginsWhereItBecameBusy) {
  const CostModel costs{.stages = {with_bytes(40)}, .bandwidth = 10};
  const Schedule schedule = remove_communication(parse(kTwoMessages));
  EXPECT_EQ(path_text(schedule, critical_path(schedule, costs)), "0F0 1F1 1B1 0B1");
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
