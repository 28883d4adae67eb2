// The step diagrams of 2BP for four ranks and unit costs, as pictures.
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/text_grid.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

std::string drawn(const std::string& name, bool two_stage) {
  return draw_timeline(simulate(testing::family(name, 4, two_stage), {}).timeline);
}

TEST(DrawnTest, Naive) {
  EXPECT_EQ(drawn("naive", false),
            "rank 0  F.........BB\n"
            "rank 1  .F......BB..\n"
            "rank 2  ..F...BB....\n"
            "rank 3  ...FBB......\n");
  EXPECT_EQ(drawn("naive", true),
            "rank 0  F......bw\n"
            "rank 1  .F....bw.\n"
            "rank 2  ..F..bw..\n"
            "rank 3  ...Fbw...\n");
}

TEST(DrawnTest, Gpipe) {
  EXPECT_EQ(drawn("gpipe", false),
            "rank 0  FFFF.........BBBBBBBB\n"
            "rank 1  .FFFF......BBBBBBBB..\n"
            "rank 2  ..FFFF...BBBBBBBB....\n"
            "rank 3  ...FFFFBBBBBBBB......\n");
  EXPECT_EQ(drawn("gpipe", true),
            "rank 0  FFFF......bbbbwwww\n"
            "rank 1  .FFFF....bbbbwwww.\n"
            "rank 2  ..FFFF..bbbbwwww..\n"
            "rank 3  ...FFFFbbbbwwww...\n");
}

TEST(DrawnTest, OneForwardOneBackward1) {
  EXPECT_EQ(drawn("1f1b-1", false),
            "rank 0  FFFF......BB.BB.BB.BB\n"
            "rank 1  .FFF....BBFBB.BB.BB..\n"
            "rank 2  ..FF..BBFBBFBB.BB....\n"
            "rank 3  ...FBBFBBFBBFBB......\n");
  EXPECT_EQ(drawn("1f1b-1", true),
            "rank 0  FFFF...bwbwbwbw\n"
            "rank 1  .FFF..bFbwbwbww\n"
            "rank 2  ..FF.bFbFbwbwww\n"
            "rank 3  ...FbFbFbFbwwww\n");
}

TEST(DrawnTest, OneForwardOneBackward2) {
  EXPECT_EQ(drawn("1f1b-2", false),
            "rank 0  FFFF......BBFBBFBBFBBFBB.BB.BB.BB\n"
            "rank 1  .FFF....BBFBBFBBFBBFBBFBB.BB.BB..\n"
            "rank 2  ..FF..BBFBBFBBFBBFBBFBBFBB.BB....\n"
            "rank 3  ...FBBFBBFBBFBBFBBFBBFBBFBB......\n");
  EXPECT_EQ(drawn("1f1b-2", true),
            "rank 0  FFFF...bFbFbFbFbwbwbwbwwwww\n"
            "rank 1  .FFF..bFbFbFbFbFbwbwbwwwwww\n"
            "rank 2  ..FF.bFbFbFbFbFbFbwbwwwwwww\n"
            "rank 3  ...FbFbFbFbFbFbFbFbwwwwwwww\n");
}

// Half a stage's work each: the pair's later stages hide behind their earlier ones.
TEST(DrawnTest, BitPipeWithItsReductions) {
  const Schedule schedule = testing::family("bitpipe", 4, false);
  const CostModel costs = uniform_costs({.reduce = 2}, schedule);
  EXPECT_EQ(draw_timeline(simulate(schedule, costs).timeline),
            "rank 0  FF.FFFFFBBFBB.BBBBBBBBBB..BB..\n"
            "                     rr     rrrr    rr\n"
            "rank 1  .FFFFFFFF.BBBBBBBBBBBBBBBB....\n"
            "                        rrrr    rrrr\n"
            "rank 2  .FFFFFFFF.BBBBBBBBBBBBBBBB....\n"
            "                        rrrr    rrrr\n"
            "rank 3  FF.FFFFFBBFBB.BBBBBBBBBB..BB..\n"
            "                     rr     rrrr    rr\n");
}

}  // namespace
}  // namespace halfback
