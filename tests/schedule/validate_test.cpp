#include "halfback/schedule/validate.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;
using testing::parse;

std::string fault(const std::string& text, ChannelRule channel = kBuffered) {
  return error_of([&] { validate(parse(text), {.channel = channel}); });
}

void expect_fault(const std::string& text, const std::string& expected) {
  const std::string found = fault(text);
  EXPECT_EQ(found.substr(0, found.find('\n')), "schedule: " + expected);
}

constexpr const char* kOnce =
    "; each stage runs each micro-batch with one F and either one B or one I and one W";

TEST(ValidateTest, ShowsTheListsAroundTheSpot) {
  EXPECT_EQ(fault("0F0,0F1,0I0,0I1,0W0,0W1\n1F0,1I0,1F1,1W1,1I1,1W0\n"),
            "schedule: rank 1, position 3: 1W1 comes before 1I1 (position 4); a weight gradient "
            "needs its input gradient first\n"
            "position   0   1   2   3   4   5\n"
            "rank 0     0F0 0F1 0I0 0I1 0W0 0W1\n"
            "rank 1     1F0 1I0 1F1 1W1 1I1 1W0\n"
            "                       ^^^\n");
}

TEST(ValidateTest, RejectsBackwardBeforeForward) {
  expect_fault("0I0,0F0,0W0\n",
               "rank 0, position 0: 0I0 comes before 0F0 (position 1); a backward needs its "
               "forward first");
  expect_fault("0B0,0F0\n",
               "rank 0, position 0: 0B0 comes before 0F0 (position 1); a backward needs its "
               "forward first");
}

TEST(ValidateTest, RejectsMissingActions) {
  expect_fault("0F0,0B0,0B1\n",
               std::string("rank 0, position 3: the list ends and 0F1 is missing") + kOnce);
  expect_fault("0F0,0F1,0B0\n",
               std::string("rank 0, position 3: the list ends and 0I1 is missing") + kOnce);
  expect_fault("0F0,0I0\n",
               std::string("rank 0, position 2: the list ends and 0W0 is missing") + kOnce);
}

TEST(ValidateTest, RejectsActionsThatComeTwice) {
  expect_fault(
      "0F0,0F0,0B0\n",
      std::string("rank 0, position 1: 0F0 comes a second time (first at position 0)") + kOnce);
  expect_fault("0F0,0I0,0W0,0B0\n",
               std::string("rank 0, position 3: 0B0 computes a backward that the rank already has, "
                           "whole or in part") +
                   kOnce);
  expect_fault("0F0,0B0,0W0\n",
               std::string("rank 0, position 2: 0W0 computes a backward that the rank already has, "
                           "whole or in part") +
                   kOnce);
}

TEST(ValidateTest, RejectsStageOnAnotherRank) {
  expect_fault("0F0,0B0\n1F0,0F1,1B0\n",
               "rank 1, position 1: 0F1 is on rank 1; stage 0 is placed on rank 0");
}

TEST(ValidateTest, RejectsBadShapes) {
  const auto error = [](const Schedule& schedule) { return error_of([&] { validate(schedule); }); };
  EXPECT_TRUE(has_text(error({}), "at least one of each"));
  EXPECT_TRUE(has_text(error({"", 1, single_replica({0, 5}), {{}}}),
                       "stage 1 is placed on rank 5; the ranks are 0 to 0"));
  EXPECT_TRUE(has_text(error({"", 1, single_replica({0}), {{}, {}}}), "rank 1 holds no stage"));
  EXPECT_TRUE(has_text(error({"", 1, single_replica({0}), {{{ActionKind::Forward, 3, 0}}}}),
                       "names stage 3"));
  EXPECT_TRUE(has_text(error({"", 1, single_replica({0}), {{{ActionKind::Forward, 0, -1}}}}),
                       "names micro-batch -1"));
  EXPECT_TRUE(has_text(error({"", 1, single_replica({0}), {{{ActionKind::Forward, 0, 0, 1}}}}),
                       "0F0.1 names slice 1; a micro-batch here is one, slice 0"));
}

TEST(ValidateTest, RejectsStagesOfOneRankOutOfOrder) {
  expect_fault("1F0,0F0,1B0,0B0\n",
               "rank 0, position 0: 1F0 comes before 0F0 (position 1); it takes that stage's "
               "tensor");
  expect_fault("0F0,1F0,0B0,1B0\n",
               "rank 0, position 2: 0B0 comes before 1B0 (position 3); it takes that stage's "
               "tensor");
}

TEST(ValidateTest, RejectsUpdatesTooEarlyTwiceOrInPart) {
  expect_fault("0F0,0I0,0U,0W0\n",
               "rank 0, position 2: 0U comes after 0 of 1 weight gradients of stage 0; an update "
               "needs all");
  expect_fault("0F0,0B0,0U,0U\n",
               "rank 0, position 3: 0U comes a second time (first at position 2); a step updates a "
               "stage once");
  expect_fault("0F0,0B0,0U\n1F0,1B0\n",
               "rank 1, position 2: the list ends and 1U is missing; all stages that train are "
               "updated, or none is");
  EXPECT_EQ(fault("0F0,0B0,0U\n1F0,1B0,1U\n"), "no error");
}

TEST(ValidateTest, NamesEveryRankOfACycle) {
  EXPECT_EQ(fault("0F0,0B0,0F1,0B1\n1F1,1B1,1F0,1B0\n"),
            "schedule: rank 0, position 1: 0B0 waits forever: 2 ranks wait for each other "
            "(buffered)\n"
            "  rank 0, position 1: 0B0 waits for 1B0 (rank 1, position 3)\n"
            "  rank 1, position 0: 1F1 waits for 0F1 (rank 0, position 2)\n"
            "position   0   1   2   3\n"
            "rank 0     0F0 0B0 0F1 0B1\n"
            "               ^^^\n"
            "rank 1     1F1 1B1 1F0 1B0\n");
}

TEST(ValidateTest, RejectsMoreActivationsThanTheLimit) {
  const auto error = [](const Schedule& schedule, double limit) {
    return error_of([&] { validate(schedule, {.activation_limit = limit}); });
  };
  const Schedule gpipe = testing::family("gpipe", 4);
  EXPECT_EQ(error(gpipe, 4.0), "no error");
  EXPECT_TRUE(has_text(error(gpipe, 3.0),
                       "rank 0, position 3: 0F3 makes the rank hold the activations of 4 "
                       "micro-batches of a stage, 4 M_B; the limit is 3 M_B\n"));
  // I frees nothing of what W needs; two stages a rank count half each.
  const Schedule two = parse(
      "# halfback schedule micro_batches=2 placement=0,0\n"
      "0F0,1F0,1I0,0F1,1W0,0I0,0W0,1F1,1B1,0B1\n");
  EXPECT_EQ(error(two, 1.5), "no error");
  EXPECT_TRUE(has_text(error(two, 1.4),
                       "rank 0, position 3: 0F1 makes the rank hold the "
                       "activations of 3 micro-batches of a stage, 1.5 M_B"));
}

TEST(ValidateTest, RejectsMessagesOutOfPlace) {
  expect_fault("0SEND_F0,0F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n",
               "rank 0, position 0: 0SEND_F0 comes before 0F0 (position 1); an activation is made "
               "before it is sent");
  expect_fault("0F0,0SEND_F0,0RECV_B0,0B0\n1RECV_F0,1F0,1SEND_B0,1B0\n",
               "rank 1, position 2: 1SEND_B0 comes before 1B0 (position 3); a gradient is made "
               "before it is sent");
  expect_fault("0F0,0SEND_F0,0RECV_B0,0B0\n1F0,1RECV_F0,1B0,1SEND_B0\n",
               "rank 1, position 0: 1F0 comes before 1RECV_F0 (position 1); a tensor is received "
               "before it is used");
}

TEST(ValidateTest, RejectsMessagesMissingOrTooMany) {
  expect_fault("0F0,0SEND_F0,0RECV_B0,0B0\n1F0,1B0,1SEND_B0\n",
               "rank 1, position 0: 1F0 comes before 1RECV_F0 (missing); a tensor is received "
               "before it is used");
  expect_fault("0F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n",
               "rank 0, position 3: the list ends and 0SEND_F0 is missing; the next rank waits for "
               "it");
  expect_fault(
      "0F0,0SEND_F0,0SEND_F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n",
      "rank 0, position 2: 0SEND_F0 comes a second time (first at position 1); each tensor "
      "crosses once");
  expect_fault("0F0,0B0,0SEND_B0\n",
               "rank 0, position 2: 0SEND_B0 has no other end; the stages are 0 to 0");
  expect_fault(
      "0F0,0SEND_F0,1F0,1B0,0B0\n",
      "rank 0, position 1: 0SEND_F0 stays on rank 0, which holds stage 1 too; only tensors "
      "between ranks are sent");
}

TEST(ValidateTest, RejectsReceivesInAnotherOrderThanTheirSends) {
  expect_fault(
      "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n"
      "1RECV_F1,1RECV_F0,1F0,1B0,1SEND_B0,1F1,1B1,1SEND_B1\n",
      "rank 1, position 0: 1RECV_F1 is receive 0 from rank 0, but send 0 there is 0SEND_F0 (rank "
      "0, position 1); a channel keeps its order");
}

// Rank 0 sends both activations before it takes a gradient, rank 1 takes one and answers.
constexpr const char* kNeedsCapacityOne =
    "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n"
    "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1\n";

TEST(ValidateTest, ChannelRuleDecidesWhetherRanksGoOn) {
  EXPECT_EQ(fault(kNeedsCapacityOne), "no error");
  EXPECT_EQ(fault(kNeedsCapacityOne, {1}), "no error");
  const std::string text = fault(kNeedsCapacityOne, kRendezvous);
  EXPECT_TRUE(has_text(text, "2 ranks wait for each other (rendezvous)")) << text;
  EXPECT_TRUE(has_text(text, "0SEND_F1 waits for 1RECV_F1 (rank 1, position 4)")) << text;
  EXPECT_TRUE(has_text(text, "1SEND_B0 waits for 0RECV_B0 (rank 0, position 4)")) << text;
}

TEST(CapacityTest, FindsTheSmallest) {
  EXPECT_EQ(smallest_channel_capacity(parse(kNeedsCapacityOne)), 1);
  EXPECT_EQ(smallest_channel_capacity(testing::family("gpipe", 4)), 0);
  EXPECT_EQ(smallest_channel_capacity(testing::family("1f1b-1", 4)), 1);
  EXPECT_EQ(smallest_channel_capacity(testing::family("naive", 1)), 0);
}

TEST(ChannelRuleTest, ReadsItsText) {
  EXPECT_EQ(parse_channel_rule("buffered"), kBuffered);
  EXPECT_EQ(parse_channel_rule("rendezvous"), kRendezvous);
  EXPECT_EQ(parse_channel_rule("3"), ChannelRule{3});
  EXPECT_EQ(to_string(ChannelRule{3}), "capacity 3");
  EXPECT_TRUE(has_text(error_of([] { parse_channel_rule("bufered"); }), "did you mean buffered?"));
  EXPECT_TRUE(has_text(error_of([] { parse_channel_rule("-1"); }), "not a rule"));
}

TEST(WeightOrderTest, AscendingIsReportedPerStage) {
  EXPECT_TRUE(weight_gradients_ascend(parse("0F0,0F1,0I1,0I0,0W0,0W1\n")));
  EXPECT_FALSE(weight_gradients_ascend(parse("0F0,0F1,0I1,0I0,0W1,0W0\n")));
  EXPECT_FALSE(weight_gradients_ascend(parse("0F0,0F1,0B1,0B0\n")));
}

// Two replicas of a model of two stages, on the same two ranks in opposite directions.
constexpr const char* kTwoReplicas =
    "# halfback schedule micro_batches=2 placement=0,1|1,0 replicas=0,1\n"
    "0F0,1F1,1B1,0B0\n"
    "0F1,1F0,1B0,0B1\n";

TEST(ValidateTest, MicroBatchesPassTheirOwnReplica) {
  const Schedule schedule = parse(kTwoReplicas);
  EXPECT_EQ(schedule.placement.num_replicas(), 2);
  validate(schedule);
  const Schedule lowered = add_communication(schedule);
  validate(lowered);
  EXPECT_EQ(testing::list_text(lowered, 0), "0F0 0SEND_F0 1RECV_F1 1F1 1B1 1SEND_B1 0RECV_B0 0B0");
  EXPECT_EQ(parse(to_csv(lowered)), lowered);
  Schedule swapped = schedule;
  swapped.placement.replica_of_micro_batch = {1, 0};
  EXPECT_TRUE(has_text(error_of([&] { validate(swapped); }),
                       "rank 0, position 0: 0F0 is on rank 0; stage 0 is placed on rank 1"));
}

TEST(ValidateTest, RejectsBadReplicas) {
  const Schedule schedule = parse(kTwoReplicas);
  const auto error = [&](const std::function<void(Schedule&)>& change) {
    Schedule changed = schedule;
    change(changed);
    return error_of([&] { validate(changed); });
  };
  EXPECT_TRUE(has_text(error([](Schedule& s) { s.placement.replica_of_micro_batch = {0}; }),
                       "the replica of 1 micro-batches is given; there are 2"));
  EXPECT_TRUE(has_text(error([](Schedule& s) {
                         s.placement.replica_of_micro_batch = {0, 2};
                       }),
                       "micro-batch 1 passes replica 2; the replicas are 0 to 1"));
  EXPECT_TRUE(has_text(error([](Schedule& s) { s.placement.replicas[1] = {1}; }),
                       "replicas of 2 and 1 stages"));
  EXPECT_TRUE(has_text(error([](Schedule& s) {
                         s.ranks[0].push_back({ActionKind::Update, 0, 0});
                       }),
                       "0U comes before 0REDUCE_GRAD (missing); an update of replicas needs"));
  EXPECT_TRUE(has_text(error([](Schedule& s) {
                         s.placement.replica_of_micro_batch = {1, 1};
                       }),
                       "no micro-batch passes replica 0"));
  EXPECT_TRUE(has_text(error([](Schedule& s) {
                         s.placement.replicas[1] = {0, 1};
                       }),
                       "rank 0 holds two replicas of stage 0; one is enough"));
}

// Returns the fault of a schedule whose first list is changed.
std::string error_of_changed(Schedule schedule,
                             const std::function<void(std::vector<Action>&)>& change) {
  change(schedule.ranks[0]);
  return error_of([&] { validate(schedule); });
}

TEST(ValidateTest, ReductionsComeOnceAfterAllWeightGradientsOfEachCopyOrNotAtAll) {
  const Schedule schedule = add_gradient_reductions(parse(kTwoReplicas));
  validate(schedule);
  const auto error = [&](const auto& change) { return error_of_changed(schedule, change); };
  EXPECT_TRUE(has_text(error([](auto& list) { list.push_back(list.back()); }),
                       "0REDUCE_GRAD comes a second time (first at position 5); a step reduces"));
  EXPECT_TRUE(has_text(error([](auto& list) { std::swap(list[2], list[3]); }),
                       "1REDUCE_GRAD comes after 0 of 1 weight gradients of stage 1"));
  EXPECT_TRUE(has_text(error([](auto& list) { list.pop_back(); }),
                       "rank 0, position 5: the list ends and 0REDUCE_GRAD is missing"));
  Schedule wide = data_parallel(testing::family("gpipe", 2), 2);
  wide.ranks[0].back().micro_batch = 1;
  EXPECT_TRUE(has_text(error_of([&] { validate(wide); }),
                       "0REDUCE_GRAD carries micro-batch 1; it is the first of its replica, 0"));
  wide.ranks[0].back().micro_batch = 0;
  wide.ranks[0].push_back({ActionKind::Update, 0, 1});
  EXPECT_TRUE(has_text(error_of([&] { validate(wide); }),
                       "0U carries micro-batch 1; it is the first of its replica, 0"));
  Schedule single = parse("0F0,0F1,0B0,0B1\n");
  single.ranks[0].push_back({ActionKind::ReduceGradient, 0, 0});
  EXPECT_TRUE(has_text(error_of([&] { validate(single); }),
                       "0REDUCE_GRAD sums the gradients of replicas; there is one replica"));
}

TEST(ValidateTest, UpdatesOfReplicasComeAfterTheirReductionsOnEveryReplicaOrNotAtAll) {
  const Schedule schedule = add_updates(parse(kTwoReplicas));
  validate(schedule);
  const auto error = [&](const auto& change) { return error_of_changed(schedule, change); };
  EXPECT_TRUE(has_text(error([](auto& list) { std::swap(list[5], list.back()); }),
                       "0U comes before 0REDUCE_GRAD (position 7); an update of replicas needs"));
  EXPECT_TRUE(has_text(error([](auto& list) { list.push_back(list.back()); }),
                       "0U comes a second time (first at position 7); a step updates"));
  EXPECT_TRUE(has_text(error([](auto& list) { list.pop_back(); }),
                       "the list ends and 0U is missing; all stages that train are updated"));
  EXPECT_TRUE(has_text(error([](auto& list) { list.erase(list.begin() + 5); }),
                       "0U comes before 0REDUCE_GRAD (missing)"));
}

}  // namespace
}  // namespace halfback
