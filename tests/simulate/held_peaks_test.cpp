#include "halfback/simulate/held_peaks.h"

#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using Peaks = std::vector<double>;

Schedule folded() {
  return testing::parse(
      "# halfback schedule micro_batches=2 placement=0,1,1,0\n"
      "0F0,0F1,3F0,3I0,3F1,3I1,3W0,3W1,0I0,0W0,0B1\n"
      "1F0,2F0,1F1,2F1,2I0,1I0,2B1,1B1,2W0,1W0\n");
}

TEST(HeldPeaksTest, CountEveryStageOfARank) {
  const std::vector<Kept> peaks = held_peaks(folded());
  EXPECT_EQ(peaks[0], (Kept{.until_input = 3, .until_weight = 4, .gradients = 2}));
  EXPECT_EQ(peaks[1], (Kept{.until_input = 4, .until_weight = 4, .gradients = 2}));
}

TEST(ActivationPeaksTest, AStageCountsItsShareOfTheModel) {
  EXPECT_EQ(activation_peaks(folded()), (Peaks{2, 2}));
  EXPECT_EQ(activation_peaks(testing::parse("0F0,1F0,2F0,2B0,1B0,0B0\n")), (Peaks{1}));
  EXPECT_EQ(activation_peaks(testing::family("1f1b", 4, false)), (Peaks{4, 3, 2, 1}));
}

TEST(ActivationPeaksTest, HalfOfAnOddNumberOfStagesIsNoWholeOne) {
  const Schedule three = testing::parse(
      "# halfback schedule micro_batches=2 placement=0,1,1,0\n"
      "0F0,0F1,3F0,3B0,3F1,3B1,0B0,0B1\n"
      "1F0,2F0,1F1,2F1,2B0,1B0,2B1,1B1\n");
  EXPECT_EQ(activation_peaks(three), (Peaks{1.5, 2}));
}

TEST(ActivationPeaksTest, InputGradientsMayFreeAPart) {
  const Schedule schedule = testing::parse("0F0,0I0,0F1,0I1,0F2,0I2,0W0,0W1,0W2\n");
  EXPECT_EQ(activation_peaks(schedule), (Peaks{3}));
  EXPECT_EQ(activation_peaks(schedule, 1.0), (Peaks{1}));
  EXPECT_EQ(activation_peaks(schedule, 0.625), (Peaks{1 + 2 * 0.375}));
  EXPECT_EQ(activation_peaks(testing::family("1f1b-2", 4), 1.0), (Peaks{4, 3, 2, 1}));
}

TEST(ActivationPeaksTest, ASecondCopyCountsAsTheFirst) {
  const Schedule schedule = testing::parse(
      "# halfback schedule micro_batches=2 placement=0,1|1,0 replicas=0,1\n"
      "0F0,1F1,1B1,0B0\n0F1,1F0,1B0,0B1\n");
  EXPECT_EQ(activation_peaks(schedule), (Peaks{2, 2}));
}

}  // namespace
}  // namespace halfback
