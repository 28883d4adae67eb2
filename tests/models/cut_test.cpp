// How blocks are dealt out to stages.
#include "halfback/models/cut.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <vector>

namespace halfback {
namespace {

using Cut = std::vector<int>;

TEST(CutTest, EqualPartsAndTheRemainderToTheFirstStages) {
  EXPECT_EQ(equal_cut(8, 4), (Cut{2, 2, 2, 2}));
  EXPECT_EQ(equal_cut(10, 4), (Cut{3, 3, 2, 2}));
  EXPECT_EQ(equal_cut(3, 3), (Cut{1, 1, 1}));
  EXPECT_EQ(equal_cut(5, 1), (Cut{5}));
}

TEST(CutTest, EveryStageNeedsABlock) {
  const std::string text = text_of_thrown<ConfigError>([] { equal_cut(3, 4); });
  EXPECT_EQ(text,
            "cut: 3 blocks cannot be spread over 4 stages; every stage needs at least one block; "
            "use at most 3 stages or a deeper model");
  EXPECT_THROW(equal_cut(3, 0), ConfigError);
}

TEST(CutTest, ReadsAnExplicitCut) {
  EXPECT_EQ(parse_cut("3,2,3", {.num_blocks = 8, .num_stages = 3}), (Cut{3, 2, 3}));
  EXPECT_EQ(parse_cut(" 1 , 4", {.num_blocks = 5, .num_stages = 2}), (Cut{1, 4}));
  EXPECT_EQ(parse_cut("5", {.num_blocks = 5, .num_stages = 1}), (Cut{5}));
}

TEST(CutTest, NoTextCutsEqually) {
  EXPECT_EQ(parse_cut("", {.num_blocks = 5, .num_stages = 2}), (Cut{3, 2}));
}

TEST(CutTest, RefusesPartsThatAreNoNumberOfBlocks) {
  for (const char* part : {"", "0", "-1", "x", "1.5", "99999999999", "4294967297"}) {
    const std::string text = text_of_thrown<ConfigError>(
        [&] { parse_cut(std::string("2,") + part, {.num_blocks = 4, .num_stages = 2}); });
    EXPECT_TRUE(contains(text, std::string("cut: '") + part + "' is not a number of blocks"))
        << text;
    EXPECT_TRUE(contains(text, "as in --cut 2,2")) << text;
  }
}

TEST(CutTest, RefusesAnotherSumOrNumberOfStages) {
  const CutShape shape{.num_blocks = 5, .num_stages = 2};
  for (const char* cut : {"2,2", "3,3", "1,2,2", "5"}) {
    const std::string text = text_of_thrown<ConfigError>([&] { parse_cut(cut, shape); });
    EXPECT_TRUE(contains(text, "expected 2 stages and 5 blocks, as in --cut 3,2")) << text;
  }
}

}  // namespace
}  // namespace halfback
