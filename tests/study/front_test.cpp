// Pareto fronts against all pairs.
#include "halfback/study/front.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace halfback {
namespace {

TEST(FrontTest, KeepsWhatNothingBeats) {
  EXPECT_TRUE(pareto_front({}).empty());
  EXPECT_EQ(pareto_front({{3.0, 1.0}, {1.0, 3.0}, {2.0, 2.0}, {3.0, 2.0}}),
            (std::vector<std::size_t>{1, 2, 0}));
  EXPECT_EQ(pareto_front({{1.0, 2.0}, {1.0, 2.0}, {1.0, 1.0}, {1.0, 1.0}}),
            (std::vector<std::size_t>{2}));
}

RC_GTEST_PROP(FrontTest, EqualsAllPairs, ()) {
  const auto numbers = *rc::gen::container<std::vector<std::pair<int, int>>>(
      rc::gen::pair(rc::gen::inRange(0, 9), rc::gen::inRange(0, 9)));
  std::vector<CostPoint> points;
  for (const auto& [compute, time] : numbers) {
    points.push_back({static_cast<double>(compute), static_cast<double>(time)});
  }
  std::vector<std::size_t> expected;
  for (std::size_t i = 0; i < points.size(); ++i) {
    bool is_beaten = false;
    for (std::size_t j = 0; j < points.size(); ++j) {
      const bool is_no_worse =
          points[j].compute <= points[i].compute && points[j].time <= points[i].time;
      const bool is_equal =
          points[j].compute == points[i].compute && points[j].time == points[i].time;
      is_beaten = is_beaten || (is_no_worse && (!is_equal || j < i));
    }
    if (!is_beaten) {
      expected.push_back(i);
    }
  }
  std::vector<std::size_t> found = pareto_front(points);
  for (std::size_t i = 1; i < found.size(); ++i) {
    RC_ASSERT(points[found[i - 1]].compute < points[found[i]].compute);
  }
  std::sort(found.begin(), found.end());
  RC_ASSERT(found == expected);
}

}  // namespace
}  // namespace halfback
