#include "halfback/schedule/passes.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/validate.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;
using testing::list_text;
using testing::parse;

TEST(AddCommunicationTest, GradientLeavesBeforeAnyWeightGradient) {
  const Schedule schedule = add_communication(testing::family("1f1b-1", 3));
  EXPECT_EQ(list_text(schedule, 0),
            "0F0 0SEND_F0 0F1 0SEND_F1 0F2 0SEND_F2 0RECV_B0 0I0 0W0 0RECV_B1 0I1 0W1 0RECV_B2 0I2 "
            "0W2");
  EXPECT_EQ(list_text(schedule, 1),
            "1RECV_F0 1F0 1SEND_F0 1RECV_F1 1F1 1SEND_F1 1RECV_B0 1I0 1SEND_B0 1RECV_F2 1F2 "
            "1SEND_F2 1RECV_B1 1I1 1SEND_B1 1W0 1RECV_B2 1I2 1SEND_B2 1W1 1W2");
  EXPECT_EQ(list_text(schedule, 2),
            "2RECV_F0 2F0 2I0 2SEND_B0 2RECV_F1 2F1 2I1 2SEND_B1 2RECV_F2 2F2 2I2 2SEND_B2 2W0 2W1 "
            "2W2");
}

TEST(AddCommunicationTest, WithoutBuffersRanksMeetWhereAnActionEnds) {
  const Schedule schedule = add_communication(testing::family("1f1b-1", 2), kRendezvous);
  EXPECT_EQ(list_text(schedule, 0), "0F0 0SEND_F0 0F1 0SEND_F1 0RECV_B0 0I0 0W0 0RECV_B1 0I1 0W1");
  EXPECT_EQ(list_text(schedule, 1), "1RECV_F0 1F0 1RECV_F1 1I0 1SEND_B0 1F1 1I1 1SEND_B1 1W0 1W1");
}

TEST(AddCommunicationTest, StagesOfOneRankSendNothingToEachOther) {
  const Schedule schedule =
      add_communication(parse("0F0,1F0,1B0,0B0\n2F0,2B0\n"
                              "# stage 1 goes to rank 1\n"));
  EXPECT_EQ(list_text(schedule, 0), "0F0 1F0 1SEND_F0 1RECV_B0 1B0 0B0");
}

TEST(AddCommunicationTest, ReceivesKeepTheOrderOfSends) {
  // Rank 1 wants micro-batch 1 first, but rank 0 sends 0 first.
  const Schedule schedule = add_communication(parse("0F0,0F1,0B1,0B0\n1F1,1B1,1F0,1B0\n"));
  EXPECT_EQ(list_text(schedule, 1), "1RECV_F0 1RECV_F1 1F1 1B1 1SEND_B1 1F0 1B0 1SEND_B0");
  validate(schedule);
}

TEST(AddCommunicationTest, RefusesMessagesAndWhatDoesNotRun) {
  const Schedule schedule = add_communication(testing::family("gpipe", 2));
  EXPECT_TRUE(has_text(error_of([&] { add_communication(schedule); }), "already has sends"));
  EXPECT_TRUE(has_text(error_of([] { add_communication(parse("0F0\n")); }), "0I0 is missing"));
}

TEST(ForwardOnlyTest, IsAWaveForAnyNumberOfMicroBatches) {
  const Schedule schedule = forward_only(testing::family("1f1b", 3), 2);
  EXPECT_EQ(list_text(schedule, 0), "0F0 0SEND_F0 0F1 0SEND_F1");
  EXPECT_EQ(list_text(schedule, 1), "1RECV_F0 1F0 1SEND_F0 1RECV_F1 1F1 1SEND_F1");
  EXPECT_EQ(list_text(schedule, 2), "2RECV_F0 2F0 2RECV_F1 2F1");
}

// Two replicas of a model of two stages, on the same two ranks in opposite directions.
constexpr const char* kTwoReplicas =
    "# halfback schedule micro_batches=2 placement=0,1|1,0 replicas=0,1\n"
    "0F0,1F1,1I1,0I0,0W0,1W1\n"
    "0F1,1F0,1B0,0B1\n";

TEST(GradientReductionTest, BeginsRightAfterTheLastWeightGradientOfACopy) {
  const Schedule schedule = add_gradient_reductions(parse(kTwoReplicas));
  EXPECT_EQ(list_text(schedule, 0), "0F0 1F1 1I1 0I0 0W0 0REDUCE_GRAD 1W1 1REDUCE_GRAD");
  EXPECT_EQ(list_text(schedule, 1), "0F1 1F0 1B0 1REDUCE_GRAD 0B1 0REDUCE_GRAD");
  EXPECT_EQ(schedule.ranks[0].back(), (Action{ActionKind::ReduceGradient, 1, 1}));
  validate(schedule);
  EXPECT_EQ(add_gradient_reductions(schedule), schedule);
}

TEST(GradientReductionTest, GradientsLeaveFirstWhicheverPassComesFirst) {
  const Schedule schedule = parse(kTwoReplicas);
  const Schedule lowered = add_gradient_reductions(add_communication(schedule));
  EXPECT_EQ(lowered, add_communication(add_gradient_reductions(schedule)));
  EXPECT_TRUE(has_text(list_text(lowered, 1), "1B0 1SEND_B0 1REDUCE_GRAD"));
}

TEST(GradientReductionTest, OneCopyOfTheWeightsHasNone) {
  const Schedule schedule = testing::family("1f1b", 3);
  EXPECT_EQ(add_gradient_reductions(schedule), schedule);
}

TEST(NumberByReplicaTest, RenamesAndKeepsTheOrder) {
  const Schedule schedule = number_by_replica(
      parse("# halfback schedule micro_batches=3 placement=0|1 replicas=1,0,1\n0F1,0B1\n"
            "0F0,0F2,0B2,0B0,0REDUCE_GRAD\n"));
  EXPECT_EQ(list_text(schedule, 0), "0F0 0B0");
  EXPECT_EQ(list_text(schedule, 1), "0F1 0F2 0B2 0B1 0REDUCE_GRAD");
  EXPECT_EQ(schedule.placement.replica_of_micro_batch, (std::vector<int>{0, 1, 1}));
  EXPECT_EQ(schedule.ranks[1].back(), (Action{ActionKind::ReduceGradient, 0, 1}));
  EXPECT_EQ(number_by_replica(testing::family("gpipe", 2)), testing::family("gpipe", 2));
}

TEST(DataParallelTest, PipelinesStandSideBySide) {
  const Schedule schedule = data_parallel(parse("0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n"), 2);
  EXPECT_EQ(to_csv(schedule),
            "# halfback schedule micro_batches=4 placement=0,1|2,3 replicas=0,0,1,1\n"
            "0F0,0F1,0B0,0B1,0REDUCE_GRAD\n"
            "1F0,1B0,1F1,1B1,1REDUCE_GRAD\n"
            "0F2,0F3,0B2,0B3,0REDUCE_GRAD\n"
            "1F2,1B2,1F3,1B3,1REDUCE_GRAD\n");
  validate(schedule);
  validate(add_communication(schedule));
}

TEST(DataParallelTest, OnePipelineIsTheScheduleItself) {
  const Schedule schedule = testing::family("1f1b", 2);
  EXPECT_EQ(data_parallel(schedule, 1), schedule);
}

TEST(DataParallelTest, ReplicasOfAScheduleStayInEachPipeline) {
  const Schedule schedule = data_parallel(testing::family("chimera", 2), 3);
  EXPECT_EQ(schedule.placement.replicas,
            (std::vector<std::vector<int>>{{0, 1}, {1, 0}, {2, 3}, {3, 2}, {4, 5}, {5, 4}}));
  EXPECT_EQ(schedule.placement.replica_of_micro_batch, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  validate(schedule);
  EXPECT_EQ(parse(to_csv(schedule)), schedule);
}

// Gradients are cut alike in each pipeline, and what does not train is not reduced.
TEST(DataParallelTest, PipelinesOfLocalUpdatesKeepTheirLosses) {
  const Schedule one = parse("# halfback schedule losses=1:1,2:2\n0F0\n1F0,1B0\n2F0,2B0\n");
  const Schedule schedule = data_parallel(one, 2);
  EXPECT_EQ(to_csv(schedule),
            "# halfback schedule micro_batches=2 placement=0,1,2|3,4,5 replicas=0,1 "
            "losses=1:1,2:2 weights=sum\n"
            "0F0\n1F0,1B0,1REDUCE_GRAD\n2F0,2B0,2REDUCE_GRAD\n"
            "0F1\n1F1,1B1,1REDUCE_GRAD\n2F1,2B1,2REDUCE_GRAD\n");
  validate(add_communication(schedule));
  EXPECT_EQ(parse(to_csv(schedule)), schedule);
  EXPECT_EQ(number_by_replica(schedule), schedule);
}

TEST(DataParallelTest, UpdatesComeAtTheEndOfEachList) {
  const Schedule schedule = data_parallel(parse("0F0,1F0,1B0,1U,0B0,0U\n"), 2);
  EXPECT_EQ(to_csv(schedule),
            "# halfback schedule micro_batches=2 placement=0,0|1,1 replicas=0,1\n"
            "0F0,1F0,1B0,1REDUCE_GRAD,0B0,0REDUCE_GRAD,1U,0U\n"
            "0F1,1F1,1B1,1REDUCE_GRAD,0B1,0REDUCE_GRAD,1U,0U\n");
  validate(schedule);
  EXPECT_EQ(parse(to_csv(schedule)), schedule);
}

TEST(DataParallelTest, RefusesWhatItCannotMultiply) {
  const auto text = [](const Schedule& schedule, int count) {
    return error_of([&] { data_parallel(schedule, count); });
  };
  const Schedule schedule = parse("0F0,0B0,0U\n");
  EXPECT_TRUE(has_text(text(schedule, 0), "0 pipelines of 1 ranks"));
  EXPECT_TRUE(has_text(text(schedule, kMaxIndex + 1), "at most 1048576"));
  EXPECT_TRUE(
      has_text(text(build_schedule("gpipe", {.num_ranks = 128, .num_micro_batches = 1024}), 1024),
               "268435456 actions in all"));
}

}  // namespace
}  // namespace halfback
