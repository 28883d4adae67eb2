#include "cli/run_curves.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>

namespace halfback::cli {
namespace {

TEST(RunCurvesTest, TakesWhatALineHas) {
  RunCurves curves("images");
  curves.add({{"step", 1}, {"loss", 2.5}, {"learning_rate", 0.1}, {"images_per_second", 7.0}});
  curves.add({{"step", 2}, {"loss", 2.0}, {"learning_rate", 0.2}, {"validation_loss", 3.0}});
  const std::vector<Chart>& charts = curves.charts();
  ASSERT_EQ(charts.size(), 3U);
  EXPECT_EQ(to_json(charts[0])["curves"].dump(),
            R"([{"name":"training","points":[[1,2.5],[2,2.0]],"values_per_point":1},)"
            R"({"name":"validation","points":[[2,3.0]],"values_per_point":1}])");
  EXPECT_EQ(charts[1].curves[0].points().size(), 2U);
  EXPECT_EQ(charts[2].unit, "images/s");
  EXPECT_EQ(charts[2].curves[0].points()[0].mean(), 7.0);
}

TEST(RunCurvesTest, HasAChartOfLossesInsideTheModel) {
  RunCurves curves("tokens");
  curves.add({{"step", 1}, {"loss", 2.0}, {"losses", {3.0, nullptr, 2.0}}});
  curves.add({{"step", 2}, {"loss", 1.0}, {"losses", {2.5, 2.0, 1.0}}});
  ASSERT_EQ(curves.charts().size(), 4U);
  EXPECT_EQ(to_json(curves.charts()[3])["curves"].dump(),
            R"([{"name":"loss 1","points":[[1,3.0],[2,2.5]],"values_per_point":1},)"
            R"({"name":"loss 2","points":[[1,null],[2,2.0]],"values_per_point":1},)"
            R"({"name":"model","points":[[1,2.0],[2,1.0]],"values_per_point":1}])");
}

TEST(RunCurvesTest, GoesOnWithTheLinesOfAFile) {
  const TemporaryDirectory directory;
  spit(directory / "metrics.jsonl",
       "{\"note\":\"x\"}\n{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":null}\n");
  RunCurves curves("tokens");
  curves.add_file(directory / "metrics.jsonl");
  curves.add({{"step", 3}, {"loss", 1.0}});
  const std::vector<CurvePoint> points = curves.charts()[0].curves[0].points();
  ASSERT_EQ(points.size(), 3U);
  EXPECT_EQ(points[1].num_not_finite, 1);
  EXPECT_TRUE(std::isnan(points[1].mean()));
  EXPECT_EQ(points[2].last_step, 3);
  spit(directory / "metrics.jsonl", "{\n");
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { curves.add_file(directory / "metrics.jsonl"); }),
               "not JSON"));
}

}  // namespace
}  // namespace halfback::cli
