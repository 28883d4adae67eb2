#include "halfback/timeline/statistics.h"

#include "halfback/timeline/chrome_trace.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <map>
#include <string>
#include <vector>

namespace halfback {
namespace {

Timeline two_ranks() {
  return {.num_ranks = 2,
          .spans = {{0, {ActionKind::Forward, 0, 0}, 1.0, 2.0, 0.5},
                    {0, {ActionKind::SendForward, 0, 0}, 2.0, 2.5, 0.0},
                    {0, {ActionKind::Forward, 0, 1}, 2.5, 5.5, 1.5},
                    {1, {ActionKind::RecvForward, 1, 0}, 1.0, 2.5, 0.0},
                    {1, {ActionKind::Forward, 1, 0}, 2.5, 4.5, 1.0}}};
}

TEST(StatisticsTest, CountsComputingOnly) {
  const Statistics sums = statistics(two_ranks());
  EXPECT_DOUBLE_EQ(sums.makespan_seconds, 4.5);
  EXPECT_EQ(sums.busy_seconds, (std::vector<double>{4.0, 2.0}));
  EXPECT_DOUBLE_EQ(sums.bubble_fraction, 1.0 - 6.0 / 9.0);
}

TEST(StatisticsTest, StageStepIsTheLongestPeriodOfOneRank) {
  const Statistics sums = statistics(two_ranks());
  EXPECT_DOUBLE_EQ(sums.stage_step_seconds, 4.5);  // rank 1 begins with its F, after the receive
  EXPECT_DOUBLE_EQ(sums.stage_step_bubble_fraction, 1.0 - 6.0 / 9.0);
  Timeline shifted = two_ranks();
  shifted.spans.pop_back();
  shifted.spans.push_back({1, {ActionKind::Forward, 1, 0}, 5.0, 10.0, 5.0});
  EXPECT_DOUBLE_EQ(statistics(shifted).makespan_seconds, 9.0);
  EXPECT_DOUBLE_EQ(statistics(shifted).stage_step_seconds, 5.0);
}

TEST(StatisticsTest, StageStepHasUpdatesWithoutTheWaitForOtherRanks) {
  const Timeline timeline{.num_ranks = 1,
                          .spans = {{0, {ActionKind::Forward, 0, 0}, 1.0, 2.0, 1.0},
                                    {0, {ActionKind::RecvBackward, 0, 0}, 2.0, 3.0, 0.0},
                                    {0, {ActionKind::Backward, 0, 0}, 3.0, 5.0, 2.0},
                                    {0, {ActionKind::Update, 0, 0}, 9.0, 11.0, 2.0}}};
  EXPECT_DOUBLE_EQ(statistics(timeline).makespan_seconds, 10.0);
  EXPECT_DOUBLE_EQ(statistics(timeline).stage_step_seconds, 6.0);
}

TEST(StatisticsTest, EmptyTimelineIsAllZero) {
  const Statistics sums = statistics({.num_ranks = 2, .spans = {}});
  EXPECT_EQ(sums.makespan_seconds, 0.0);
  EXPECT_EQ(sums.bubble_fraction, 0.0);
  EXPECT_EQ(sums.busy_seconds.size(), 2U);
}

TEST(MedianCostsTest, AreByStageAndKindWithoutMessages) {
  const std::vector<ActionCost> costs = median_costs(two_ranks(), SpanClock::Wall);
  ASSERT_EQ(costs.size(), 2U);
  EXPECT_EQ(costs[0].count, 2);
  EXPECT_DOUBLE_EQ(costs[0].median_seconds, 2.0);
  EXPECT_EQ(costs[1].stage, 1);
  EXPECT_DOUBLE_EQ(median_costs(two_ranks(), SpanClock::ThreadCpu)[0].median_seconds, 1.0);
}

TEST(ChromeTraceTest, IsOneTrackARankInMicroseconds) {
  const auto trace = nlohmann::json::parse(to_chrome_trace(two_ranks()));
  const auto& events = trace.at("traceEvents");
  ASSERT_EQ(events.size(), 7U);
  EXPECT_EQ(events[1].at("args").at("name"), "rank 1");
  EXPECT_EQ(events[2].at("ph"), "X");
  EXPECT_EQ(events[2].at("name"), "0F0");
  EXPECT_EQ(events[2].at("ts"), 1e6);
  EXPECT_EQ(events[4].at("dur"), 3e6);
  EXPECT_EQ(events[6].at("tid"), 1);
}

TEST(ChromeTraceTest, EndsAreRoundedAndLengthsFollow) {
  const Timeline timeline{.num_ranks = 1,
                          .spans = {{0, {ActionKind::Forward, 0, 0}, 0.0, 1.4e-9},
                                    {0, {ActionKind::Forward, 0, 1}, 1.4e-9, 2.8e-9},
                                    {0, {ActionKind::Forward, 0, 2}, 2.8e-9, 12345.6789012344}}};
  const std::string text = to_chrome_trace(timeline);
  for (const char* const part : {"\"ts\":0.000,\"dur\":0.001", "\"ts\":0.001,\"dur\":0.002",
                                 "\"ts\":0.003,\"dur\":12345678901.231"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(ChromeTraceTest, BeginsAtZeroWhereARankOfAnotherProcessBeginsFirst) {
  const Timeline timeline{.num_ranks = 2,
                          .spans = {{0, {ActionKind::Forward, 0, 0}, 0.0, 2e-6},
                                    {1, {ActionKind::Forward, 1, 0}, -1e-6, 3e-6}}};
  const std::string text = to_chrome_trace(timeline);
  for (const char* const part : {"\"ts\":1.000,\"dur\":2.000", "\"ts\":0.000,\"dur\":4.000"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

TEST(ChromeTraceTest, ReductionsUnderWayTogetherHaveTracksOfTheirOwn) {
  const auto reduce = [](int stage, double start, double end) {
    return Span{0, {ActionKind::ReduceGradient, stage, 0}, start, end};
  };
  const Timeline timeline{.num_ranks = 2,
                          .spans = {reduce(0, 0, 2),
                                    reduce(1, 1, 3),
                                    reduce(2, 2, 4),
                                    {1, {ActionKind::Forward, 0, 0}, 0, 1}}};
  const auto trace = nlohmann::json::parse(to_chrome_trace(timeline));
  std::map<int, std::string> names;
  std::vector<int> threads;
  std::vector<int> shown;  // from the top
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("name") == "thread_name") {
      names[event.at("tid")] = event.at("args").at("name");
    } else if (event.at("name") == "thread_sort_index") {
      EXPECT_EQ(event.at("args").at("sort_index"), shown.size());
      shown.push_back(event.at("tid"));
    } else if (event.at("ph") == "X") {
      threads.push_back(event.at("tid"));
    }
  }
  EXPECT_EQ(threads, (std::vector<int>{2, 4, 2, 1}));
  EXPECT_EQ(shown, (std::vector<int>{0, 2, 4, 1}));
  EXPECT_EQ(names,
            (std::map<int, std::string>{
                {0, "rank 0"}, {1, "rank 1"}, {2, "rank 0 reductions"}, {4, "rank 0 reductions"}}));
}

TEST(StatisticsTest, ReductionsAreHiddenWhereTheirRankComputes) {
  const auto reduce = [](int stage, double start, double end) {
    return Span{0, {ActionKind::ReduceGradient, stage, 0}, start, end};
  };
  const Timeline timeline{.num_ranks = 2,
                          .spans = {{0, {ActionKind::Forward, 0, 0}, 0, 2},
                                    reduce(1, 1, 5),
                                    {0, {ActionKind::RecvBackward, 0, 0}, 2, 3},
                                    {0, {ActionKind::Backward, 0, 0}, 3, 4},
                                    reduce(0, 4, 7)}};
  const Statistics result = statistics(timeline);
  EXPECT_EQ(result.reduction_seconds, (std::vector<double>{6, 0}));
  EXPECT_EQ(result.exposed_reduction_seconds, (std::vector<double>{4, 0}));
  EXPECT_EQ(result.busy_seconds, (std::vector<double>{3, 0}));
  EXPECT_EQ(result.stage_step_seconds, 7);
}

TEST(ChromeTraceTest, EmptyTimelineIsValidJson) {
  EXPECT_NO_THROW(nlohmann::json::parse(to_chrome_trace({})));
}

}  // namespace
}  // namespace halfback
