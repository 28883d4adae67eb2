#include "halfback/schedule/losses.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/torch_rules.h"
#include "halfback/schedule/validate.h"
#include "tests/support/losses_through.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;
using testing::parse;

using Stages = std::vector<int>;

// What a table says of each stage, from 0.
struct Flow {
  Stages gradients;
  Stages crossing;
  Stages carried;
  Stages taken;

  bool operator==(const Flow&) const = default;
};

// Also compares the questions about single gradients with the table.
Flow flow_of(const Losses& losses, int num_stages) {
  Flow flow;
  for (int stage = 0; stage < num_stages; ++stage) {
    const StagePasses passes = losses.passes(stage);
    flow.gradients.push_back(losses.num_gradients(stage));
    flow.carried.push_back(passes.carried);
    flow.taken.push_back(passes.taken);
    EXPECT_EQ(losses.names_losses(stage), losses.num_gradients(stage) > 1);
    const StageGradients gradients = gradients_of(losses, num_stages, stage);
    EXPECT_EQ(static_cast<int>(gradients.all.size()), losses.num_gradients(stage));
    const auto count = [&](bool StageGradient::*what) {
      return static_cast<int>(std::ranges::count_if(gradients.all, what));
    };
    flow.crossing.push_back(count(&StageGradient::continues));
    EXPECT_EQ(count(&StageGradient::is_carried), passes.carried);
    EXPECT_EQ(count(&StageGradient::is_taken), passes.taken);
    const std::vector<int> through = testing::losses_through(losses, num_stages, stage);
    EXPECT_EQ(static_cast<int>(through.size()), passes.carried);
  }
  return flow;
}

void PrintTo(const Flow& flow, std::ostream* out) {
  for (const Stages& row : {flow.gradients, flow.crossing, flow.carried, flow.taken}) {
    *out << ::testing::PrintToString(row) << ' ';
  }
}

TEST(LossesTest, BackpropHasOneGradientEverywhere) {
  const Flow expected{{1, 1, 1, 1}, {0, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}};
  EXPECT_EQ(flow_of({}, 4), expected);
  EXPECT_EQ(flow_of({4, {{3, 0}}}, 4), expected);
  EXPECT_TRUE(Losses().is_backprop());
}

TEST(LossesTest, GreedyAndChunkedGradientsStayInTheirChunk) {
  EXPECT_EQ(flow_of({3, {{0, 0}, {1, 1}, {2, 2}}}, 3),
            (Flow{{1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {1, 1, 1}}));
  EXPECT_EQ(flow_of({4, {{1, 0}, {3, 2}}}, 4),
            (Flow{{1, 1, 1, 1}, {0, 1, 0, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}}));
}

TEST(LossesTest, GradientsOfSeveralWindowsPassAStage) {
  const std::vector<LossReach> windows = {{1, 0}, {2, 1}, {3, 2}};
  EXPECT_EQ(flow_of({4, windows}, 4),
            (Flow{{1, 2, 2, 1}, {0, 1, 1, 1}, {1, 2, 2, 1}, {1, 2, 2, 1}}));
  EXPECT_EQ(flow_of({4, windows, WeightRule::Furthest}, 4),
            (Flow{{1, 2, 2, 1}, {0, 1, 1, 1}, {1, 2, 2, 1}, {1, 1, 1, 1}}));
  const Losses wide(5, {{2, 0}, {3, 1}, {4, 2}});
  EXPECT_EQ(flow_of(wide, 5),
            (Flow{{1, 2, 3, 2, 1}, {0, 1, 2, 2, 1}, {1, 2, 3, 2, 1}, {1, 2, 3, 2, 1}}));
}

// By how many stages above its loss is.
TEST(LossesTest, AGradientIsKnownByItsLoss) {
  const Losses losses(6, {{1, 2}, {3, 0}, {4, 4}, {5, 1}});
  EXPECT_EQ(losses.furthest(0), 3);
  EXPECT_EQ(losses.furthest(1), 4);
  EXPECT_EQ(losses.furthest(4), 1);
  EXPECT_EQ(losses.furthest(5), 0);
  EXPECT_TRUE(losses.has_gradient(1, 0)) << "its own head's";
  EXPECT_FALSE(losses.is_carried(1, 0));
  EXPECT_FALSE(losses.has_gradient(1, 1));
  EXPECT_TRUE(losses.has_gradient(1, 2));
  EXPECT_FALSE(losses.has_gradient(1, 3)) << "ends above";
  EXPECT_FALSE(losses.has_gradient(1, 9)) << "there is no such stage";
  EXPECT_TRUE(losses.continues(1, 2));
  EXPECT_FALSE(losses.continues(1, 4));
  EXPECT_EQ(losses.before(1, 4), 2);
  EXPECT_EQ(losses.before(1, 2), 0);
  EXPECT_EQ(losses.before(1, 0), std::nullopt);
  EXPECT_EQ(losses.num_below(1, 2), 1);
  EXPECT_EQ(losses.num_below(1, 4), 0);
}

TEST(LossesTest, ALossThatReachesNothingStillHasABackward) {
  const Losses losses(3, {{0, 1}, {2, 2}});
  EXPECT_TRUE(losses.has_backward(0));
  EXPECT_FALSE(losses.has_backward(1));
  EXPECT_EQ(losses.passes(0), (StagePasses{0, 0}));
  EXPECT_EQ(losses_text(losses), "0:none,2:2");
}

TEST(LossesTest, PeopleSeeTheFirstLosses) {
  const Losses losses = testing::family("local-greedy", 18).losses;
  EXPECT_EQ(
      brief_losses(losses),
      "0:0,1:1,2:2,3:3,4:4,5:5,6:6,7:7,8:8,9:9,10:10,11:11,12:12,13:13,14:14,15:15 and 2 more");
}

TEST(LossesTest, FaultsAreNamed) {
  const auto fault = [](std::vector<LossReach> losses) {
    return error_of([&] { Losses(3, losses, WeightRule::Sum, "plan"); });
  };
  EXPECT_EQ(fault({{3, 0}}), "plan: a loss on stage 3; the stages are 0 to 2");
  EXPECT_EQ(fault({{-1, 0}}), "plan: a loss on stage -1; the stages are 0 to 2");
  EXPECT_EQ(fault({{1, 0}, {1, 1}, {2, 0}}),
            "plan: a loss on stage 1 after one on stage 1; losses ascend, at most one per stage");
  EXPECT_EQ(
      fault({{0, 2}, {2, 0}}),
      "plan: the loss on stage 0 reaches stage 2; a gradient goes down, to 0 at the highest, or "
      "nowhere");
  EXPECT_EQ(
      fault({{2, -1}}),
      "plan: the loss on stage 2 reaches stage -1; a gradient goes down, to 2 at the highest, or "
      "nowhere");
  EXPECT_EQ(fault({{0, 0}, {1, 1}}), "plan: no loss on stage 2; the last stage has one");
  EXPECT_EQ(fault({}), "plan: no loss on stage 2; the last stage has one");
  EXPECT_EQ(error_of([] {
              Losses(257, {{0, 0}, {256, 0}}, WeightRule::Sum, "plan");
            }),
            "plan: the gradient of the loss on stage 256 passes stage 0 beside others; such a loss "
            "is at most 254 stages above");
}

// Two ranks of two stages each, in a V: cuts inside a rank and between ranks.
constexpr const char* kGreedyV =
    "# halfback schedule micro_batches=1 placement=0,1,1,0 losses=0:0,1:1,2:2,3:3\n"
    "0F0,0B0,3F0,3B0\n"
    "1F0,1B0,2F0,2I0,2W0\n";

TEST(LossesTest, NoBackwardWaitsAcrossACut) {
  const Schedule schedule = parse(kGreedyV);
  validate(schedule, {.channel = kRendezvous});
  const Schedule lowered = add_communication(schedule);
  EXPECT_EQ(testing::list_text(lowered, 0), "0F0 0SEND_F0 0B0 3RECV_F0 3F0 3B0");
  validate(lowered, {.channel = kRendezvous});
}

TEST(LossesTest, TextGivesTheTableBack) {
  for (const char* keys : {" losses=0:0,1:1,2:none,3:2 weights=mean", " losses=3:0",
                           " losses=0:none,1:0,2:1,3:2 weights=furthest", ""}) {
    std::string text = kGreedyV;
    text.replace(text.find(" losses="), text.find('\n') - text.find(" losses="), keys);
    const Schedule schedule = parse(text);
    EXPECT_EQ(parse(to_csv(schedule)), schedule) << keys;
    EXPECT_EQ(schedule.losses.is_backprop(), keys[0] == '\0');
  }
  EXPECT_TRUE(has_text(to_csv(parse(kGreedyV)), " losses=0:0,1:1,2:2,3:3 weights=sum\n"));
}

TEST(LossesTest, HeadersThatSayNoTableAreRefused) {
  const auto fault = [](const std::string& keys) {
    return error_of([&] { parse("# halfback schedule " + keys + "\n0F0,0B0\n1F0,1B0\n"); });
  };
  for (const char* losses : {"", "0", "0:", ":0", "0:x", "0:1", "0:none,", "-1:0", "1:0;0:0",
                             "1:-1", "1048576:0", "0:nonet"}) {
    EXPECT_TRUE(has_text(fault(std::string("losses=") + losses),
                         "losses is the stage of each loss and the lowest stage that its gradient "
                         "reaches, or none, as in 0:none,1:0,2:1"))
        << losses;
  }
  EXPECT_TRUE(has_text(fault("losses=1:0 losses=1:0"), "losses is given twice"));
  EXPECT_TRUE(has_text(fault("losses=1:0 weights=man"), "did you mean mean"));
  EXPECT_TRUE(has_text(fault("weights=sum weights=sum"), "weights is given twice"));
  EXPECT_TRUE(has_text(fault("weights=sum"),
                       "the header has weights= and no losses=; give both or neither"));
  EXPECT_TRUE(
      has_text(fault("losses=0:0"),
               "test.csv: the header's losses=: no loss on stage 1; the last stage has one"));
  EXPECT_TRUE(has_text(fault("losses=2:0"), "a loss on stage 2; the stages are 0 to 1"));
  EXPECT_TRUE(has_text(fault("loss=1:0"), "did you mean losses"));
}

std::string fault_of(const std::string& header, const std::string& rows) {
  return error_of([&] { validate(parse("# halfback schedule " + header + "\n" + rows)); });
}

TEST(LossesTest, MessagesAcrossACutAreRefused) {
  const std::string greedy = "losses=0:0,1:1,2:2";
  EXPECT_TRUE(has_text(fault_of(greedy,
                                "0F0,0SEND_F0,0B0\n1RECV_F0,1F0,1SEND_F0,2RECV_B0,1B0\n"
                                "2RECV_F0,2F0,2B0,2SEND_B0\n"),
                       "rank 1, position 3: 2RECV_B0 is on rank 1"));
  EXPECT_TRUE(
      has_text(fault_of(greedy,
                        "0F0,0SEND_F0,0B0\n1RECV_F0,1F0,1SEND_F0,1RECV_B0,1B0\n"
                        "2RECV_F0,2F0,2B0,2SEND_B0\n"),
               "schedule: rank 1, position 3: 1RECV_B0: no gradient crosses from stage 2 to "
               "stage 1; the losses reach as far down as 0:0,1:1,2:2\n"));
  EXPECT_TRUE(
      has_text(fault_of(greedy,
                        "0F0,0SEND_F0,0B0\n1RECV_F0,1F0,1SEND_F0,1B0\n"
                        "2RECV_F0,2F0,2B0,2SEND_B0\n"),
               "rank 2, position 3: 2SEND_B0: no gradient crosses from stage 2 to stage 1"));
}

TEST(LossesTest, MessagesThatDoCrossAreDemanded) {
  EXPECT_TRUE(has_text(
      fault_of("losses=0:0,2:1", "0F0,0SEND_F0,0B0\n1RECV_F0,1F0,1SEND_F0,1B0\n2RECV_F0,2F0,2B0\n"),
      "rank 1, position 3: 1B0 comes before 1RECV_B0 (missing); a tensor is received "
      "before it is used"));
}

// Stage 1 has the gradients of losses 1, which goes on, and 2, which ends there.
TEST(LossesTest, EachOfSeveralGradientsHasItsOwnActions) {
  const auto fault = [](const std::string& list) {
    return fault_of("losses=1:0,2:1", "0F0,0SEND_F0,0RECV_B0@1,0I0,0W0\n1RECV_F0,1F0,1SEND_F0," +
                                          list + "\n2RECV_F0,2F0,2I0,2SEND_B0,2W0\n");
  };
  EXPECT_EQ(fault("1I0@1,1SEND_B0@1,1RECV_B0,1I0@2,1W0"), "no error");
  EXPECT_TRUE(has_text(fault("1I0@1,1SEND_B0@1,1I0@2,1W0,1RECV_B0"),
                       "rank 1, position 5: 1I0@2 comes before 1RECV_B0 (position 7)"));
  EXPECT_TRUE(has_text(fault("1RECV_B0,1I0@2,1I0@1,1SEND_B0@1,1W0"),
                       "rank 1, position 4: 1I0@2 comes before 1I0@1 (position 5); gradients of "
                       "nearer losses pass first"));
  EXPECT_TRUE(has_text(fault("1I0@1,1SEND_B0@1,1RECV_B0,1W0,1I0@2"),
                       "1W0 comes before 1I0@2 (position 7); a weight gradient needs its input"));
  EXPECT_TRUE(has_text(fault("1I0@1,1SEND_B0@1,1RECV_B0,1W0"),
                       "1W0 comes before 1I0@2 (missing); a weight gradient needs"));
  EXPECT_TRUE(has_text(fault("1I0@1,1SEND_B0@1"),
                       "the list ends and 1I0@2 is missing; each stage runs each micro-batch with "
                       "one F, one I for each gradient and one W"));
  EXPECT_TRUE(
      has_text(fault("1B0,1SEND_B0@1,1RECV_B0"),
               "rank 1, position 3: 1B0 does not say which of the 2 gradients of stage 1 "
               "it carries; each has an action of its own, as 1I0@2, and one W is for all"));
  EXPECT_TRUE(has_text(fault("1I0,1SEND_B0@1"), "1I0 does not say which of the 2 gradients"));
  EXPECT_TRUE(has_text(fault("1I0@1,1SEND_B0"), "1SEND_B0 does not say which of the 2 gradients"));
  EXPECT_TRUE(has_text(fault("1I0@3"),
                       "1I0@3: no gradient of a loss on stage 3 comes to stage 1; the losses reach "
                       "as far down as 1:0,2:1"));
  EXPECT_TRUE(has_text(fault("1I0@1,1SEND_B0@2"),
                       "1SEND_B0@2: no gradient crosses from stage 1 to stage 0"));
  EXPECT_TRUE(
      has_text(fault("1RECV_B0@2"),
               "1RECV_B0@2 names a loss, and there is only one such action; write 1RECV_B0"));
}

TEST(LossesTest, StagesWithoutALossHaveForwardsAlone) {
  const std::string last = "losses=2:2";
  EXPECT_EQ(fault_of(last, "0F0\n1F0\n2F0,2B0,2U\n"), "no error");
  const std::string why =
      ": stage 1 has no loss and no gradient reaches it, so it has F alone; the losses reach "
      "as "
      "far down as 2:2\n";
  EXPECT_TRUE(has_text(fault_of(last, "0F0\n1F0,1B0\n2F0,2B0\n"), "rank 1, position 1: 1B0" + why));
  EXPECT_TRUE(has_text(fault_of(last, "0F0\n1F0,1I0,1W0\n2F0,2B0\n"), "1I0" + why));
  EXPECT_TRUE(has_text(fault_of(last, "0F0\n1F0,1W0\n2F0,2B0\n"), "1W0" + why));
  EXPECT_TRUE(has_text(fault_of(last, "0F0\n1F0,1U\n2F0,2B0,2U\n"),
                       "rank 1, position 1: 1U: stage 1 has no loss and no gradient reaches it, "
                       "so its weights stay as they are"));
  EXPECT_TRUE(has_text(fault_of("losses=1:1,2:2", "0F0\n1F0,1B0\n2F0,2B0,2U\n"),
                       "1U is missing; all stages that train are updated, or none is"));
  EXPECT_TRUE(has_text(fault_of("losses=1:1,2:2", "0F0\n1F0\n2F0,2B0\n"), "1I0 is missing"));
}

TEST(LossesTest, ReplicasOfStagesThatTrainAreReduced) {
  const auto fault = [](const std::string& first, const std::string& second) {
    return fault_of("placement=0,1|2,3 replicas=0,1 losses=1:1",
                    "0F0" + first + "\n1F0,1B0,1REDUCE_GRAD\n0F1\n1F1,1B1" + second + "\n");
  };
  EXPECT_EQ(fault("", ",1REDUCE_GRAD"), "no error");
  EXPECT_TRUE(has_text(fault(",0REDUCE_GRAD", ",1REDUCE_GRAD"),
                       "rank 0, position 1: 0REDUCE_GRAD: stage 0 has no loss and no "
                       "gradient reaches it, so its weights stay as they are"));
  EXPECT_TRUE(
      has_text(fault("", ""),
               "rank 3, position 2: the list ends and 1REDUCE_GRAD is missing; every replica "
               "of a stage that trains is reduced, or none is"));
}

TEST(LossesTest, ATableOfOtherStagesIsRefused) {
  Schedule schedule = testing::family("gpipe", 3);
  schedule.losses = Losses(2, {{1, 0}});
  EXPECT_EQ(error_of([&] { validate(schedule); }),
            "schedule: losses of 2 stages for a schedule of 3");
}

TEST(LossesTest, ActivationLimitsCountNoForwardWithoutABackward) {
  const Schedule schedule = parse("# halfback schedule losses=1:1\n0F0,0F1\n1F0,1B0,1F1,1B1\n");
  validate(schedule, {.activation_limit = 1.0});
  EXPECT_TRUE(has_text(error_of([&] { validate(schedule, {.activation_limit = 0.5}); }), "1F0"));
}

TEST(LossesTest, TorchHasNoPlaceForThem) {
  const Schedule schedule = parse(kGreedyV);
  EXPECT_EQ(
      error_of([&] { to_csv(schedule, CsvDialect::Torch); }),
      "csv: PyTorch's dialect has no place for the losses 0:0,1:1,2:2,3:3; gradients there go "
      "from the last stage to the first; write them with --format csv");
  const std::vector<TorchFinding> found = check_for_torch(schedule, kGreedyV);
  ASSERT_FALSE(found.empty());
  EXPECT_TRUE(has_text(found.front().text, "the losses 0:0,1:1,2:2,3:3"));
}

TEST(UpdatesTest, StandAfterTheLastWeightGradientOfTheirStage) {
  const Schedule schedule = add_updates(testing::family("1f1b-1", 2));
  EXPECT_EQ(testing::list_text(schedule, 0), "0F0 0F1 0I0 0W0 0I1 0W1 0U");
  EXPECT_EQ(testing::list_text(schedule, 1), "1F0 1I0 1F1 1I1 1W0 1W1 1U");
  validate(add_communication(schedule));
  EXPECT_TRUE(has_text(error_of([&] { add_updates(schedule); }), "1f1b-1: it has U"));
}

TEST(UpdatesTest, OfReplicasStandAtTheEndInTheOrderOfTheReductions) {
  const Schedule schedule = add_updates(testing::family("chimera", 2));
  EXPECT_EQ(testing::list_text(schedule, 0),
            "0F0 1F1 1I1 0I0 0W0 0REDUCE_GRAD 1W1 1REDUCE_GRAD 0U 1U");
  validate(add_communication(schedule));
  EXPECT_EQ(testing::parse(to_csv(schedule)).ranks, schedule.ranks);
}

TEST(UpdatesTest, StepsAreRepeatedWithTheMicroBatchesNumberedOn) {
  const Schedule steps = repeat_steps(add_updates(testing::family("naive", 2)), 2);
  EXPECT_EQ(steps.num_micro_batches, 2);
  EXPECT_EQ(testing::list_text(steps, 0), "0F0 0I0 0W0 0U 0F1 0I1 0W1 0U");
  EXPECT_TRUE(has_text(error_of([] { repeat_steps(testing::family("gpipe", 2), 2); }),
                       "--stage-updates on"));
  EXPECT_TRUE(has_text(error_of([] { repeat_steps(testing::family("local-greedy", 2), 0); }),
                       "0 steps of 2 micro-batches; at least 1 step"));
  EXPECT_TRUE(has_text(error_of([] { repeat_steps(testing::family("local-greedy", 2), 1 << 20); }),
                       "at most 1048576 micro-batches"));
}

}  // namespace
}  // namespace halfback
