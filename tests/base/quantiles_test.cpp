#include "halfback/base/quantiles.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

TEST(QuantilesTest, TheMedianIsTheMiddleOrBetweenTheTwoThere) {
  EXPECT_EQ(median({}), 0.0);
  EXPECT_EQ(median({7.0}), 7.0);
  EXPECT_EQ(median({9.0, 1.0, 2.0}), 2.0);
  EXPECT_EQ(median({9.0, 1.0, 2.0, 4.0}), 3.0);
}

TEST(QuantilesTest, AQuantileLiesBetweenNeighborsInProportion) {
  EXPECT_EQ(quantile({}, 0.5), 0.0);
  EXPECT_EQ(quantile({7.0}, 0.9), 7.0);
  EXPECT_EQ(quantile({9.0, 1.0, 2.0, 4.0}, 0.0), 1.0);
  EXPECT_EQ(quantile({9.0, 1.0, 2.0, 4.0}, 0.5), 3.0);
  EXPECT_EQ(quantile({9.0, 1.0, 2.0, 4.0}, 0.25), 1.75);
  EXPECT_EQ(quantile({9.0, 1.0, 2.0, 4.0}, 1.0), 9.0);
}

TEST(QuantilesTest, TheSpreadDoesNotSeeSingleOutliers) {
  EXPECT_EQ(quartile_spread({}), 0.0);
  EXPECT_EQ(quartile_spread({3.0}), 0.0);
  EXPECT_EQ(quartile_spread({1.0, 100.0, 5.0}), 49.5);
  EXPECT_EQ(quartile_spread({-1000.0, 6.0, 2.0, 1000.0}), 2.0);
  EXPECT_EQ(quartile_spread({5.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 7.0}), 1.5);
}

}  // namespace
}  // namespace halfback
