#include "halfback/timeline/report/report.h"

#include "halfback/schedule/passes.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/report/svg.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace halfback {
namespace {

using testing::has_text;

Report report_of(const Schedule& schedule) {
  ReportTrack track{.name = "predicted",
                    .timeline = simulate(schedule, uniform_costs({}, schedule)).timeline};
  track.critical = {0};
  track.memory = activation_curves(track.timeline, 1.0);
  return {.title = "a </script> b", .memory_unit = "M_B", .tracks = {track}};
}

TEST(ReportTest, DataHoldsEverySpanFromTheFirstStart) {
  Report report = report_of(testing::family("1f1b-1", 2));
  for (Span& span : report.tracks[0].timeline.spans) {
    span.start_seconds += 3.0;
    span.end_seconds += 3.0;
  }
  const nlohmann::json track = to_json(report)["tracks"][0];
  EXPECT_EQ(track["spans"].size(), 12U);
  EXPECT_EQ(track["spans"][0], nlohmann::json::parse(R"([0,"0F0",0,0,"F",0.0,1.0])"));
  EXPECT_EQ(track["makespan"], 7.0);
  EXPECT_EQ(track["critical"], nlohmann::json::parse("[0]"));
}

TEST(ReportTest, CurvesRiseWithFAndFallWithW) {
  const Schedule schedule = testing::family("1f1b-2", 4);
  const Timeline timeline = simulate(schedule, {}).timeline;
  const auto curves = activation_curves(timeline, 1.0);
  const std::vector<double> peaks = activation_peaks(schedule);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    double most = 0.0;
    for (const MemoryPoint& point : curves[rank]) {
      most = std::max(most, point.held);
    }
    EXPECT_EQ(most, peaks[rank]);
    EXPECT_EQ(curves[rank].back().held, 0.0);
  }
}

TEST(ReportTest, CurvesOfStagesThatDoNotTrainStayDown) {
  const Schedule schedule = testing::family("local-last", 2);
  const auto curves = activation_curves(simulate(schedule, {}).timeline, 1.0);
  EXPECT_TRUE(curves[0].empty());
  EXPECT_EQ(curves[1].back().held, 0.0);
}

TEST(ReportTest, BytesStandAtTheEndsOfTheirSpans) {
  const Timeline timeline{.num_ranks = 1,
                          .spans = {{0, {ActionKind::Forward, 0, 0}, 0.0, 1.0},
                                    {0, {ActionKind::Backward, 0, 0}, 1.0, 3.0},
                                    {0, {ActionKind::Update, 0, 0}, 3.0, 4.0}}};
  const auto curves = memory_curves(timeline, {{10, 0}});
  EXPECT_EQ(curves[0], (std::vector<MemoryPoint>{{1.0, 10.0}, {3.0, 0.0}}));
}

TEST(ReportTest, ReductionsAreInTheDataAndHoldNothingUp) {
  const Schedule schedule = data_parallel(testing::family("naive", 1, false), 2);
  const CostModel costs{.stages = {{.reduce = 2}}};
  const Timeline timeline = simulate(schedule, costs).timeline;
  const nlohmann::json track =
      to_json(Report{.tracks = {{.name = "predicted", .timeline = timeline}}})["tracks"][0];
  EXPECT_EQ(track["spans"][2],
            nlohmann::json::parse(R"([0,"0REDUCE_GRAD",0,0,"REDUCE_GRAD",3.0,5.0])"));
  EXPECT_EQ(track["reduction"], nlohmann::json::parse("[2.0,2.0]"));
  EXPECT_EQ(track["exposed_reduction"], nlohmann::json::parse("[2.0,2.0]"));
  const auto curves = memory_curves(timeline, {{8, 0, 0}, {8, 0, 0}});
  EXPECT_EQ(curves[0], (std::vector<MemoryPoint>{{1.0, 8.0}, {3.0, 0.0}, {3.0, 0.0}}));
  EXPECT_TRUE(has_text(to_svg(timeline, "two"), "<title>0REDUCE_GRAD</title>"));
}

TEST(ReportTest, PageIsWholeAndNothingInItEndsItsData) {
  const std::string page = to_html(report_of(testing::family("zb-v", 2)));
  EXPECT_TRUE(has_text(page, "<!doctype html>"));
  EXPECT_TRUE(has_text(page, "a \\u003c/script> b"));
  EXPECT_FALSE(has_text(page, "{{data}}"));
  EXPECT_FALSE(has_text(page, "http"));
}

TEST(ReportTest, ChartsAreInTheDataOfARunOnly) {
  Report report = report_of(testing::family("zb-v", 2));
  EXPECT_FALSE(to_json(report).contains("charts"));
  Curve curve("training");
  curve.add(3, 2.5);
  report.charts = {{.title = "Loss", .curves = {curve, Curve("validation")}}};
  EXPECT_EQ(to_json(report)["charts"], nlohmann::json::parse(R"([{"title": "Loss", "unit": "",
    "starts_at_zero": false,
    "curves": [{"name": "training", "values_per_point": 1, "points": [[3, 2.5]]}]}])"));
  EXPECT_TRUE(has_text(to_html(report), R"("points":[[3,2.5]])"));
}

TEST(ReportTest, DrawingHasARectangleForEachActionAndEscapesItsTitle) {
  const Schedule schedule = testing::family("zb-v", 2);
  const std::string svg = to_svg(simulate(schedule, {}).timeline, "1 < 2 & 3");
  std::size_t count = 0;
  for (std::size_t at = 0; (at = svg.find("<title>", at)) != std::string::npos; ++at) {
    ++count;
  }
  EXPECT_EQ(count, static_cast<std::size_t>(num_actions(schedule)));
  EXPECT_TRUE(has_text(svg, "1 &lt; 2 &amp; 3"));
  EXPECT_TRUE(has_text(svg, "bubble fraction"));
  EXPECT_TRUE(has_text(to_svg({}, "nothing"), "</svg>"));
}

}  // namespace
}  // namespace halfback
