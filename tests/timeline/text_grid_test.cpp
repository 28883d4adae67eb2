#include "halfback/timeline/text_grid.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

Span span(int rank, ActionKind kind, int micro_batch, double start, double end) {
  return {rank, {kind, rank, micro_batch}, start, end, 0.0};
}

Timeline small() {
  return {
      .num_ranks = 2,
      .spans = {span(0, ActionKind::Forward, 0, 0, 1), span(0, ActionKind::Backward, 0, 4, 6),
                span(1, ActionKind::RecvForward, 0, 0, 1), span(1, ActionKind::Forward, 0, 1, 2),
                span(1, ActionKind::BackwardInput, 0, 2, 3),
                span(1, ActionKind::BackwardWeight, 0, 3, 4)}};
}

TEST(TextGridTest, DrawsALetterAColumn) {
  EXPECT_EQ(draw_timeline(small()),
            "rank 0  F...BB\n"
            "rank 1  .Fbw..\n");
}

TEST(TextGridTest, UnitOfAColumnCanBeChosen) {
  EXPECT_EQ(draw_timeline(small(), {.unit_seconds = 0.5}),
            "rank 0  FF......BBBB\n"
            "rank 1  ..FFbbww....\n");
}

TEST(TextGridTest, ScalesToTheWidthAndSaysSo) {
  EXPECT_EQ(draw_timeline(small(), {.width = 11}),
            "rank 0  ..B\n"
            "rank 1  Fw.\n"
            "(scaled to fit: a column is 2 of 6 time units)\n");
}

TEST(TextGridTest, NumbersMicroBatches) {
  EXPECT_EQ(draw_numbered_timeline(small()),
            "rank 0  F0 .  .  .  B0 --\n"
            "rank 1  .  F0 I0 W0 .  .\n");
}

TEST(TextGridTest, CutsNumbersAtTheWidthAndSaysSo) {
  EXPECT_EQ(draw_numbered_timeline(small(), {.width = 17}),
            "rank 0  F0 .  .\n"
            "rank 1  .  F0 I0\n"
            "(cut after 3 of 6 columns)\n");
}

TEST(TextGridTest, ReductionsHaveLinesOfTheirOwn) {
  Timeline timeline = small();
  timeline.spans.push_back(span(1, ActionKind::ReduceGradient, 0, 3, 5));
  timeline.spans.push_back(span(0, ActionKind::ReduceGradient, 0, 7, 7));  // takes no time
  timeline.spans.push_back(span(1, ActionKind::ReduceGradient, 0, 6, 7));
  EXPECT_EQ(draw_timeline(timeline),
            "rank 0  F...BB.\n"
            "rank 1  .Fbw...\n"
            "           rr r\n");
  EXPECT_EQ(draw_numbered_timeline(timeline),
            "rank 0  F0 .  .  .  B0 -- .\n"
            "rank 1  .  F0 I0 W0 .  .  .\n"
            "                 1r --    1r\n");
}

TEST(TextGridTest, EmptyTimelineHasRowsOnly) {
  EXPECT_EQ(draw_timeline({.num_ranks = 1, .spans = {}}), "rank 0  \n");
  EXPECT_EQ(draw_timeline({}), "");
}

}  // namespace
}  // namespace halfback
