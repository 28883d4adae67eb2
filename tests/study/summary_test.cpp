// Intervals of what is known. A test in Python compares the numbers with NumPy's.
#include "halfback/study/summary.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace halfback {
namespace {

TEST(SummaryTest, OfNothingAndOfOneValue) {
  EXPECT_EQ(summarize({}, 1).count, 0);
  const Summary one = summarize({3.0}, 1);
  EXPECT_EQ(one.count, 1);
  for (const double number :
       {one.median, one.lower_quartile, one.upper_quartile, one.interval_low, one.interval_high}) {
    EXPECT_EQ(number, 3.0);
  }
}

TEST(SummaryTest, TheIntervalHoldsTheMedianAndShrinksWithTheCount) {
  double previous = 1e9;
  for (const int count : {5, 20, 80, 320}) {
    std::vector<double> values;
    for (int i = 0; i < count; ++i) {
      values.push_back(static_cast<double>(i * 7919 % count) / count);
    }
    const Summary found = summarize(values, 3);
    EXPECT_LE(found.interval_low, found.median);
    EXPECT_GE(found.interval_high, found.median);
    EXPECT_LT(found.interval_high - found.interval_low, previous);
    EXPECT_LE(found.lower_quartile, found.median);
    previous = found.interval_high - found.interval_low;
  }
}

TEST(SummaryTest, ResamplesAreKeyedAndTakeEachValueEquallyOften) {
  EXPECT_EQ(resample(5, 3, 1), resample(5, 3, 1));
  EXPECT_NE(resample(50, 3, 1), resample(50, 4, 1));
  std::vector<int> counts(5);
  for (int number = 0; number < kNumResamples; ++number) {
    for (const std::size_t place : resample(5, number, 9)) {
      ++counts.at(place);
    }
  }
  for (const int count : counts) {
    EXPECT_NEAR(count, kNumResamples, kNumResamples * 0.08);
  }
}

}  // namespace
}  // namespace halfback
