// Orders that their sources print, and how families use what a shape may say beyond its size.
#include "halfback/schedule/validate.h"
#include "tests/support/schedules.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;

// The chunks of BitPipe's paper: number 2c and 2c + 1 are the micro-batches of one direction on
// chunk c: 0 and 1 begin a way down and a way up, 2 and 3 end these.
std::string chunk_numbers(const Schedule& schedule, int rank, ActionKind kind) {
  std::string text;
  const int ranks = schedule.num_ranks();
  for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
    if (action.kind == kind) {
      const int chunk =
          schedule.placement.replica_of(action.micro_batch) + (action.stage < ranks ? 0 : 2);
      text += fmt::format("{} ", 2 * chunk + action.micro_batch % 2);
    }
  }
  return text;
}

TEST(WrittenOrdersTest, BitPipeOnFourRanks) {
  const Schedule schedule =
      build_schedule("bitpipe", {.num_ranks = 4, .num_micro_batches = 4, .two_stage = false});
  const char* forwards[] = {"0 1 2 6 3 7 4 5 ", "0 2 1 3 6 4 7 5 ", "2 0 3 1 4 6 5 7 ",
                            "2 3 0 4 1 5 6 7 "};
  for (int rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(chunk_numbers(schedule, rank, ActionKind::Forward), forwards[rank]);
  }
  EXPECT_EQ(chunk_numbers(schedule, 0, ActionKind::Backward), "4 5 6 2 7 3 0 1 ");
}

// Four quarters of a model of 16 layers on rank 0: [0,1] and [14,15] of the one replica, [6,7] and
// [8,9] of the other; ranks i and 3 - i hold the same.
TEST(WrittenOrdersTest, BitPipePlacesFourChunksOnARank) {
  const Placement placement = testing::family("bitpipe", 4).placement;
  EXPECT_EQ(placement.stages_of(0), (std::vector<int>{0, 7, 3, 4}));
  EXPECT_EQ(placement.stages_of(1), (std::vector<int>{1, 6, 2, 5}));
  EXPECT_EQ(placement.stages_of(3), (std::vector<int>{3, 4, 0, 7}));
}

TEST(WrittenOrdersTest, BitPipeSplitKeepsTheOrderOfForwardsAndBackwards) {
  for (const int micro_batches : {8, 16, 24}) {
    const PipelineShape shape = {.num_ranks = 8, .num_micro_batches = micro_batches};
    Schedule plain = build_schedule("bitpipe", shape);
    Schedule filled = build_schedule("bitpipe-split", shape);
    for (Schedule* schedule : {&plain, &filled}) {
      for (std::vector<Action>& list : schedule->ranks) {
        std::erase_if(list, [](const Action& a) {
          return a.kind == ActionKind::BackwardWeight || a.kind == ActionKind::ReduceGradient;
        });
      }
    }
    EXPECT_EQ(plain.ranks, filled.ranks);
  }
}

TEST(WrittenOrdersTest, InterleavedFollowsMegatron) {
  const Schedule schedule = build_schedule(
      "interleaved-1f1b", {.num_ranks = 2, .num_micro_batches = 4, .two_stage = false});
  EXPECT_EQ(testing::list_text(schedule, 0),
            "0F0 0F1 2F0 2F1 0F2 2B0 0F3 2B1 2F2 0B0 2F3 0B1 2B2 2B3 0B2 0B3");
  EXPECT_EQ(testing::list_text(schedule, 1),
            "1F0 1F1 3F0 3B0 3F1 3B1 1F2 1B0 1F3 1B1 3F2 3B2 3F3 3B3 1B2 1B3");
}

// 7 micro-batches on 3 ranks pass in groups of 4 and 3, since one of 1 would wait for itself.
TEST(WrittenOrdersTest, GroupsShareMicroBatchesEvenly) {
  EXPECT_EQ(largest_group(7, 3), 4);
  EXPECT_EQ(largest_group(6, 3), 3);
  EXPECT_EQ(largest_group(2, 3), 2);
  const Schedule schedule = build_schedule(
      "interleaved-1f1b", {.num_ranks = 3, .num_micro_batches = 7, .two_stage = false});
  EXPECT_TRUE(has_text(testing::list_text(schedule, 0), "0F0 0F1 0F2 0F3 3F0"));
}

TEST(WrittenOrdersTest, DualPipeSplitsTheBackwardsOfItsEnd) {
  const Schedule schedule = build_schedule("dualpipe", {.num_ranks = 2, .num_micro_batches = 4});
  EXPECT_EQ(testing::list_text(schedule, 0),
            "0F0 1F2 0F1 1B2 1F3 0B0 1B3 1REDUCE_GRAD 0I1 0W1 0REDUCE_GRAD");
  EXPECT_EQ(testing::list_text(schedule, 1),
            "0F2 1F0 0F3 1B0 1F1 0B2 1B1 1REDUCE_GRAD 0I3 0W3 0REDUCE_GRAD");
}

TEST(WrittenOrdersTest, WhatAFamilyDoesNotTakeIsRefused) {
  const auto text = [](const char* name, const PipelineShape& shape) {
    return error_of([&] { build_schedule(name, shape); });
  };
  PipelineShape shape{.num_ranks = 4, .num_micro_batches = 8};
  shape.stages_per_rank = 2;
  EXPECT_TRUE(has_text(text("1f1b", shape), "1f1b: it takes no --stages-per-rank"));
  EXPECT_EQ(text("looped-bfs", shape), "no error");
  shape.group_size = 1;
  EXPECT_TRUE(has_text(text("interleaved-1f1b", shape), "takes no --group-size"));
  EXPECT_TRUE(has_text(text("gis", shape), "groups of 1 micro-batches on 4 ranks; 2 to 4"));
  shape = {.num_ranks = 4, .num_micro_batches = 8, .memory_limit = 4};
  EXPECT_TRUE(has_text(text("zb-v", shape), "takes no --memory-limit"));
  shape.memory_limit = 0.75;
  EXPECT_TRUE(has_text(text("v-search", shape), "no order keeps within 0.75 micro-batches"));
  shape.memory_limit = -1;
  EXPECT_TRUE(has_text(text("v-search", shape), "--memory-limit -1 on 4 ranks; it is above 0"));
  shape = {.num_ranks = 4, .num_micro_batches = 8, .released_at_input = 1.5};
  EXPECT_TRUE(has_text(text("zb-auto", shape), "--released-at-input 1.5 on 4 ranks; it is 0 to 1"));
  shape = {.num_ranks = 4, .num_micro_batches = 8, .stages_per_rank = 3};
  EXPECT_TRUE(has_text(text("hanayo", shape), "must be even"));
  shape = {.num_ranks = 4, .num_micro_batches = 8, .stages_per_rank = -1};
  EXPECT_TRUE(has_text(text("zb-wave", shape), "--stages-per-rank -1 on 4 ranks; it is 1 or more"));
  shape = {.num_ranks = 4, .num_micro_batches = 8, .times = {1.0, 0.0, 1.0, 0.0}};
  EXPECT_TRUE(has_text(text("zb-auto", shape), "must be above 0"));
}

TEST(WrittenOrdersTest, ConditionsOfTheBidirectionalOnesAreNamed) {
  const auto text = [](const char* name, int ranks, int micro_batches, bool two_stage = true) {
    return error_of([&] { build_schedule(name, {ranks, micro_batches, two_stage}); });
  };
  EXPECT_TRUE(has_text(text("chimera", 3, 4), "must be even"));
  EXPECT_TRUE(has_text(text("dualpipe", 4, 6), "use --micro-batches 8"));
  EXPECT_TRUE(has_text(text("dualpipe-v", 4, 7), "use --micro-batches 8"));
  EXPECT_TRUE(has_text(text("bitpipe", 2, 4), "at least 4"));
  EXPECT_TRUE(has_text(text("bitpipe", 4, 6), "use --micro-batches 4"));
  EXPECT_TRUE(has_text(text("bitpipe-split", 4, 4, false), "--two-stage on"));
  EXPECT_TRUE(has_text(text("zb-h1", 4, 4, false), "--two-stage on"));
}

}  // namespace
}  // namespace halfback
