#include "halfback/measure/similarity.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace halfback {
namespace {

// Numbers that repeat in no simple way.
at::Tensor numbers(std::int64_t rows, std::int64_t columns, double phase) {
  at::Tensor all = at::zeros({rows, columns}, at::kDouble);
  auto* const data = all.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < all.numel(); ++i) {
    data[i] = std::sin(phase + 1.7 * static_cast<double>(i * i % 1009));
  }
  return all;
}

at::Tensor orthogonal(std::int64_t size) {
  return std::get<0>(at::linalg_qr(numbers(size, size, 0.3)));
}

TEST(SimilarityTest, CkaIsOneForWhatIsTurnedScaledAndMoved) {
  const at::Tensor x = numbers(40, 12, 0.1);
  EXPECT_NEAR(linear_cka(x, x), 1.0, 1e-14);
  EXPECT_NEAR(linear_cka(x, -3.0 * x.matmul(orthogonal(12)) + 5.0), 1.0, 1e-14);
  const at::Tensor y = numbers(40, 7, 0.9);
  const double found = linear_cka(x, y);
  EXPECT_GT(found, 0.0);
  EXPECT_LT(found, 0.9);
  EXPECT_NEAR(linear_cka(x.matmul(orthogonal(12)), 0.1 * y), found, 1e-14);
  EXPECT_NEAR(linear_cka(y, x), found, 1e-14);
  EXPECT_GT(std::abs(linear_cka(x.matmul(numbers(12, 12, 2.0)), y) - found), 1e-3)
      << "other transforms count";
}

TEST(SimilarityTest, CkaOfAConstantIsNotANumber) {
  EXPECT_TRUE(std::isnan(linear_cka(numbers(9, 3, 0.1), at::ones({9, 2}))));
}

TEST(SimilarityTest, EqualSpacesHaveAnglesOfZero) {
  const at::Tensor a = numbers(30, 5, 0.4);
  const std::vector<double> angles = subspace_angles(a, a.matmul(numbers(5, 5, 1.1)));
  ASSERT_EQ(angles.size(), 5U);
  for (const double angle : angles) {
    EXPECT_NEAR(angle, 0.0, 1e-12);
  }
  EXPECT_EQ(subspace_angles(a.narrow(1, 0, 2), a).size(), 2U);
  EXPECT_NEAR(subspace_angles(a.narrow(1, 0, 2), a).front(), 0.0, 1e-12) << "one is in the other";
}

TEST(SimilarityTest, SpacesAtRightAnglesHaveAQuarterTurn) {
  const at::Tensor axes = at::eye(8, at::kDouble);
  for (const double angle : subspace_angles(axes.narrow(1, 0, 3), axes.narrow(1, 3, 5))) {
    EXPECT_EQ(angle, std::numbers::pi / 2.0);
  }
  const std::vector<double> both = subspace_angles(axes.narrow(1, 0, 3), axes.narrow(1, 2, 4));
  ASSERT_EQ(both.size(), 3U);
  EXPECT_EQ(both[0], std::numbers::pi / 2.0) << "descending";
  EXPECT_EQ(both[2], 0.0);
}

TEST(SimilarityTest, ColumnsThatAddNothingAddNoAngle) {
  const at::Tensor a = numbers(20, 3, 0.2);
  const at::Tensor twice = at::cat({a, 2.0 * a}, 1);
  EXPECT_EQ(subspace_angles(twice, twice).size(), 3U);
  EXPECT_TRUE(subspace_angles(a, at::zeros({20, 2})).empty());
}

TEST(SimilarityTest, RefusesShapesThatDoNotFit) {
  const auto refused = [](const auto& call) {
    EXPECT_TRUE(
        contains(text_of_thrown<ConfigError>(call), "expected two matrices with as many rows"));
  };
  refused([] { linear_cka(numbers(4, 2, 0.0), numbers(5, 2, 0.0)); });
  refused([] { linear_cka(numbers(4, 2, 0.0).flatten(), numbers(4, 2, 0.0)); });
  refused([] { subspace_angles(numbers(4, 2, 0.0), numbers(5, 2, 0.0)); });
  refused([] { subspace_angles(numbers(4, 2, 0.0), numbers(4, 2, 0.0)[0]); });
}

}  // namespace
}  // namespace halfback
