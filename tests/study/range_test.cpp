#include "halfback/study/range.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>

namespace halfback {
namespace {

using Scale = Range::Scale;

TEST(RangeTest, ScalesSayWhereTheMiddleIs) {
  EXPECT_DOUBLE_EQ((Range{2.0, 4.0}).value(0.5), 3.0);
  EXPECT_DOUBLE_EQ((Range{1e-4, 1.0, Scale::Log}).value(0.5), 1e-2);
  EXPECT_DOUBLE_EQ((Range{0.9, 0.9999, Scale::ReverseLog}).value(0.0), 0.9);
  EXPECT_NEAR((Range{0.9, 0.999, Scale::ReverseLog}).value(0.5), 0.99, 1e-12);
}

TEST(RangeTest, WholeNumbersComeEquallyOften) {
  const Range range{3.0, 6.0, Scale::Linear, true};
  std::map<double, int> counts;
  for (int i = 0; i < 400; ++i) {
    ++counts[range.value(i / 400.0)];
  }
  EXPECT_EQ(counts, (std::map<double, int>{{3.0, 100}, {4.0, 100}, {5.0, 100}, {6.0, 100}}));
  const Range powers{1.0, 1024.0, Scale::Log, true};
  EXPECT_EQ(powers.value(0.0), 1.0);
  EXPECT_EQ(powers.value(std::nextafter(1.0, 0.0)), 1024.0);
}

TEST(RangeTest, RefusesWhatIsNoRange) {
  const auto refusal = [](const Range& range) {
    return text_of_thrown<ConfigError>([&] { check(range, "a.toml: learning-rate"); });
  };
  EXPECT_EQ(refusal({2.0, 1.0}),
            "a.toml: learning-rate: the range is from 2 to 1; expected finite numbers, the lower "
            "one first");
  EXPECT_TRUE(contains(refusal({0.0, std::numeric_limits<double>::infinity()}), "finite"));
  EXPECT_TRUE(contains(refusal({0.0, 1.0, Scale::Log}), "above 0"));
  EXPECT_TRUE(contains(refusal({0.5, 1.0, Scale::ReverseLog}), "below 1"));
  EXPECT_TRUE(contains(refusal({0.5, 2.0, Scale::Linear, true}), "whole numbers"));
  EXPECT_NO_THROW(check({1.0, 2.0, Scale::Log, true}, ""));
}

}  // namespace
}  // namespace halfback
