// Fits of curves that are known. A test in Python compares fits of others with NumPy's.
#include "halfback/study/scaling_fit.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cmath>

namespace halfback {
namespace {

TEST(ScalingFitTest, FindsTheCurveThatItIsGiven) {
  std::vector<ScalingPoint> points;
  for (double batch = 1.0; batch <= 1024.0; batch *= 2.0) {
    points.push_back({batch, 8000.0 / batch + 250.0});
  }
  const ScalingFit fit = fit_scaling(points);
  EXPECT_NEAR(fit.c1, 8000.0, 1e-8);
  EXPECT_NEAR(fit.c2, 250.0, 1e-8);
  EXPECT_NEAR(fit.r_squared, 1.0, 1e-12);
  EXPECT_NEAR(fit.knee(), 32.0, 1e-9);
  EXPECT_LT(fit.first_slope, -0.9);
  EXPECT_GT(fit.first_slope, -1.0);
}

TEST(ScalingFitTest, PerfectScalingHasNoKnee) {
  const ScalingFit fit = fit_scaling({{1.0, 64.0}, {2.0, 32.0}, {4.0, 16.0}});
  EXPECT_DOUBLE_EQ(fit.first_slope, -1.0);
  EXPECT_NEAR(fit.c2, 0.0, 1e-12);
  EXPECT_TRUE(std::isinf(ScalingFit{.c1 = 1.0}.knee()));
}

TEST(ScalingFitTest, RefusesTwoPoints) {
  EXPECT_EQ(text_of_thrown<ConfigError>([] {
              fit_scaling({{1.0, 4.0}, {2.0, 2.0}});
            }),
            "a fit of steps over batch sizes needs three batch sizes that reach the result; 2 do");
}

}  // namespace
}  // namespace halfback
