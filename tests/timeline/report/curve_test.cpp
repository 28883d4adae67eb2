#include "halfback/timeline/report/curve.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace halfback {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

nlohmann::json points_of(const Curve& curve) {
  return to_json(Chart{.title = "", .curves = {curve}})["curves"][0]["points"];
}

Curve counting(std::int64_t num_steps, std::size_t max_points) {
  Curve curve("", max_points);
  for (std::int64_t step = 1; step <= num_steps; ++step) {
    curve.add(step, static_cast<double>(step));
  }
  return curve;
}

TEST(CurveTest, FewValuesStayAsTheyAre) {
  EXPECT_TRUE(Curve("").points().empty());
  EXPECT_EQ(points_of(counting(1, 4)), nlohmann::json::parse("[[1, 1.0]]"));
  EXPECT_EQ(points_of(counting(4, 4)),
            nlohmann::json::parse("[[1, 1.0], [2, 2.0], [3, 3.0], [4, 4.0]]"));
  EXPECT_EQ(counting(4, 4).values_per_point(), 1);
}

TEST(CurveTest, NeighborsBecomeOneWithMeanAndRange) {
  EXPECT_EQ(
      points_of(counting(5, 4)),
      nlohmann::json::parse(
          "[[1, 1.0], [1, 2, 1.5, 1.0, 2.0, 0], [3, 4, 3.5, 3.0, 4.0, 0], [5, 5.0], [5, 5.0]]"));
  EXPECT_EQ(counting(5, 4).values_per_point(), 2);
}

TEST(CurveTest, EveryStepIsInOnePointAndTheyAreFew) {
  for (const std::size_t max_points : {2U, 3U, 7U, 1000U}) {
    for (const std::int64_t num_steps : {2, 15, 16, 17, 1999, 100'000}) {
      const Curve curve = counting(num_steps, max_points);
      std::vector<CurvePoint> points = curve.points();
      if (curve.values_per_point() > 1) {
        EXPECT_EQ(points.front().last_step, 1);
        EXPECT_EQ(points.back().first_step, num_steps);
        EXPECT_EQ(points.back().mean(), static_cast<double>(num_steps));
        points = {points.begin() + 1, points.end() - 1};
      }
      EXPECT_LE(points.size(), max_points);
      EXPECT_GE(points.size(), std::min<std::size_t>(max_points / 2, points.back().last_step));
      std::int64_t step = 0;
      for (const CurvePoint& point : points) {
        EXPECT_EQ(point.first_step, step + 1);
        EXPECT_EQ(point.num_values, point.last_step - step);
        EXPECT_LE(point.num_values, curve.values_per_point());
        EXPECT_EQ(point.least, static_cast<double>(point.first_step));
        EXPECT_EQ(point.most, static_cast<double>(point.last_step));
        EXPECT_EQ(point.mean(), (point.least + point.most) / 2.0);
        step = point.last_step;
      }
      EXPECT_EQ(step, num_steps);
    }
  }
}

TEST(CurveTest, ASpikeOfOneStepIsInTheRangeOfItsPoint) {
  Curve curve("");
  for (int step = 1; step <= 100'000; ++step) {
    curve.add(step, step == 61'234 ? 9.0 : 1.0);
  }
  int num_spikes = 0;
  for (const CurvePoint& point : curve.points()) {
    num_spikes += point.most == 9.0 ? 1 : 0;
  }
  EXPECT_EQ(num_spikes, 1);
}

TEST(CurveTest, WhatIsNotFiniteCountsInNoNumber) {
  Curve curve("", 2);
  std::int64_t step = 0;
  for (const double value : {1.0, kNaN, -kInfinity, kNaN, 3.0}) {
    curve.add(++step, value);
  }
  const std::vector<CurvePoint> points = curve.points();
  ASSERT_EQ(points.size(), 4U);  // the first value, four and one in a point, the last value
  EXPECT_EQ(points[1].num_not_finite, 3);
  EXPECT_EQ(points[1].mean(), 1.0);
  EXPECT_EQ(points[1].most, 1.0);
}

TEST(CurveTest, APointWithoutAFiniteValueIsWrittenAsNull) {
  Curve curve("", 2);
  curve.add(1, kNaN);
  curve.add(2, kInfinity);
  EXPECT_EQ(points_of(curve).dump(), "[[1,null],[2,null]]");
  curve.add(3, 5.0);
  EXPECT_EQ(points_of(curve).dump(), "[[1,null],[1,2,null,null,null,2],[3,5.0],[3,5.0]]");
}

}  // namespace
}  // namespace halfback
