// What makes Sobol points even, before and after scrambling. A test in Python compares the points
// with SciPy's.
#include "halfback/study/sobol.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace halfback {
namespace {

// True if of 2^k points each of the 2^k equal parts of an axis has one.
bool is_stratified(const std::vector<std::vector<double>>& points, std::size_t dimension) {
  std::set<double> parts;
  for (const std::vector<double>& point : points) {
    parts.insert(std::floor(point[dimension] * static_cast<double>(points.size())));
  }
  return parts.size() == points.size();
}

TEST(SobolTest, TheFirstPoints) {
  EXPECT_EQ(sobol_point(0, 2), (std::vector<double>{0.0, 0.0}));
  EXPECT_EQ(sobol_point(1, 2), (std::vector<double>{0.5, 0.5}));
  EXPECT_EQ(sobol_point(2, 2), (std::vector<double>{0.75, 0.25}));
  EXPECT_EQ(sobol_point(3, 2), (std::vector<double>{0.25, 0.75}));
}

TEST(SobolTest, EachPartOfEachAxisHasOnePoint) {
  for (const bool is_scrambled : {false, true}) {
    std::vector<std::vector<double>> points;
    for (std::uint32_t index = 0; index < 256; ++index) {
      points.push_back(is_scrambled ? scrambled_sobol_point(index, kMaxSobolDimensions, 7)
                                    : sobol_point(index, kMaxSobolDimensions));
    }
    for (std::size_t dimension = 0; dimension < kMaxSobolDimensions; ++dimension) {
      EXPECT_TRUE(is_stratified(points, dimension)) << dimension << " " << is_scrambled;
    }
  }
}

// A (0, 2, 2)-net in base 2: each of the boxes 1 x 1/4, 1/2 x 1/2, 1/4 x 1 has one of 4 points.
TEST(SobolTest, ScramblingKeepsTheNet) {
  for (std::uint64_t key = 0; key < 50; ++key) {
    std::set<std::pair<int, int>> halves;
    for (std::uint32_t index = 0; index < 4; ++index) {
      const std::vector<double> point = scrambled_sobol_point(index, 2, key);
      halves.emplace(static_cast<int>(point[0] * 2.0), static_cast<int>(point[1] * 2.0));
    }
    EXPECT_EQ(halves.size(), 4U) << key;
  }
}

TEST(SobolTest, AKeyGivesOtherPointsAndAlwaysTheSame) {
  EXPECT_EQ(scrambled_sobol_point(5, 3, 1), scrambled_sobol_point(5, 3, 1));
  EXPECT_NE(scrambled_sobol_point(5, 3, 1), scrambled_sobol_point(5, 3, 2));
  double sum = 0.0;
  for (std::uint64_t key = 0; key < 1000; ++key) {
    sum += scrambled_sobol_point(0, 1, key).front();
  }
  EXPECT_NEAR(sum / 1000.0, 0.5, 0.04) << "a scrambled point is uniform";
}

}  // namespace
}  // namespace halfback
