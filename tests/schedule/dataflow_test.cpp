// What an action takes, hands on, keeps and frees, out of the table of kinds.
#include "halfback/schedule/dataflow.h"

#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <string>

namespace halfback {
namespace {

// Of three stages on two ranks: stages 0 and 2 on rank 0.
Schedule three_stages(const std::string& losses = "") {
  Schedule schedule{
      .num_micro_batches = 4, .placement = single_replica({0, 1, 0}), .ranks = {{}, {}}};
  if (!losses.empty()) {
    schedule.losses = Losses(3, {{1, 0}, {2, 1}});
  }
  return schedule;
}

std::string inputs(const Schedule& schedule, const char* action) {
  std::string text;
  for (const Action& input : inputs_of(schedule, parse_action(action))) {
    text += to_string(input) + " ";
  }
  return text;
}

std::string text_of(const std::optional<Action>& action) {
  return action ? to_string(*action) : "none";
}

TEST(DataflowTest, InputsAreOfTheOwnStageAndTheNeighbors) {
  const Schedule schedule = three_stages();
  EXPECT_EQ(inputs(schedule, "0F3"), "");
  EXPECT_EQ(inputs(schedule, "1F3.2"), "0F3.2 ");
  EXPECT_EQ(inputs(schedule, "2B3"), "2F3 ");
  EXPECT_EQ(inputs(schedule, "1B3"), "1F3 2I3 ");
  EXPECT_EQ(inputs(schedule, "1I3"), "1F3 2I3 ");
  EXPECT_EQ(inputs(schedule, "1W3"), "1I3 ");
  EXPECT_EQ(inputs(schedule, "1SEND_F3"), "1F3 ");
  EXPECT_EQ(inputs(schedule, "1SEND_B3"), "1I3 ");
  EXPECT_EQ(inputs(schedule, "1RECV_B3"), "");
  EXPECT_EQ(inputs(schedule, "1U"), "");
}

// Stage 1 has the gradients of its own loss, which goes on, and of stage 2's, which ends there.
TEST(DataflowTest, SeveralGradientsOfAStageAreApart) {
  const Schedule schedule = three_stages("cut");
  ASSERT_EQ(losses_text(schedule.losses), "1:0,2:1");
  EXPECT_EQ(inputs(schedule, "1I0@1"), "1F0 ");
  EXPECT_EQ(inputs(schedule, "1I0@2"), "1I0@1 2I0 ");
  EXPECT_EQ(inputs(schedule, "1W0"), "1I0@2 ");
  EXPECT_EQ(inputs(schedule, "0B0"), "0F0 1I0@1 ");
  EXPECT_EQ(inputs(schedule, "1SEND_B0@1"), "1I0@1 ");
  EXPECT_TRUE(gives_to_neighbor(schedule, parse_action("1I0@1")));
  EXPECT_FALSE(gives_to_neighbor(schedule, parse_action("1I0@2")));
  EXPECT_TRUE(gives_to_neighbor(schedule, parse_action("2I0")));
  EXPECT_EQ(text_of(resulting_send(schedule, parse_action("2I0"))), "2SEND_B0");
  EXPECT_EQ(text_of(needed_receive(schedule, parse_action("1I0@2"))), "1RECV_B0");
  EXPECT_EQ(text_of(resulting_send(schedule, parse_action("1I0@1"))), "1SEND_B0@1");
  EXPECT_EQ(text_of(needed_receive(schedule, parse_action("0B0"))), "0RECV_B0@1");
  EXPECT_EQ(to_string(counterpart(parse_action("1SEND_B0@1"))), "0RECV_B0@1");
  EXPECT_EQ(to_string(counterpart(parse_action("0RECV_B0@1"))), "1SEND_B0@1");
}

TEST(DataflowTest, AnActionNamesALossWhereThereAreSeveral) {
  const Schedule schedule = three_stages("cut");
  for (const char* const text : {"1I0@1", "1I0@2", "2I0", "0I0", "0B0", "2B0", "1W0", "1F0",
                                 "1SEND_B0@1", "0RECV_B0@1", "2SEND_B0", "1RECV_B0"}) {
    EXPECT_TRUE(names_right_loss(schedule, parse_action(text))) << text;
  }
  for (const char* const text :
       {"1I0", "1B0", "1I0@3", "2I0@2", "0I0@1", "1SEND_B0", "0RECV_B0", "1RECV_B0@2"}) {
    EXPECT_FALSE(names_right_loss(schedule, parse_action(text))) << text;
  }
}

TEST(DataflowTest, ResultsAreSentOnlyToOtherRanks) {
  const Schedule schedule = three_stages();
  EXPECT_TRUE(gives_to_neighbor(schedule, parse_action("0F1")));
  EXPECT_EQ(to_string(send_for(parse_action("0F1.1"))), "0SEND_F1.1");
  for (const char* const text : {"2F1", "0B1", "1W1", "1SEND_F1", "1U"}) {
    EXPECT_FALSE(gives_to_neighbor(schedule, parse_action(text))) << text;
  }
  EXPECT_EQ(text_of(resulting_send(schedule, parse_action("1B1"))), "1SEND_B1");
  EXPECT_EQ(text_of(needed_receive(schedule, parse_action("1B1"))), "1RECV_B1");
  Schedule on_one = schedule;
  on_one.placement = single_replica({0, 0, 0});
  EXPECT_EQ(text_of(resulting_send(on_one, parse_action("1B1"))), "none");
  EXPECT_EQ(text_of(needed_receive(on_one, parse_action("1B1"))), "none");
}

TEST(DataflowTest, CounterpartIsTheOtherEnd) {
  for (const char* const text : {"1SEND_F3.1", "1RECV_F3.1", "1SEND_B3.1", "1RECV_B3.1"}) {
    const Action message = parse_action(text);
    EXPECT_EQ(counterpart(counterpart(message)), message) << text;
    EXPECT_NE(is_send(counterpart(message).kind), is_send(message.kind)) << text;
  }
  EXPECT_EQ(to_string(counterpart(parse_action("2RECV_F0"))), "1SEND_F0");
}

TEST(DataflowTest, WhatIsKeptIsFreedOnce) {
  for (const Losses& losses :
       {Losses(), Losses(3, {{1, 0}, {2, 1}}), Losses(3, {{0, 0}, {1, 0}, {2, 0}}),
        Losses(3, {{0, 0}, {1, 0}, {2, 0}}, WeightRule::Furthest), Losses(3, {{0, 1}, {2, 2}})}) {
    for (int stage = 0; stage < 3; ++stage) {
      const Action input{ActionKind::BackwardInput, stage, 0};
      std::vector<Action> split = inputs_for_all(losses, input);
      split.push_back(input.as(ActionKind::BackwardWeight));
      std::vector<std::vector<Action>> backwards = {split};
      if (!losses.names_losses(stage)) {
        backwards.push_back({input.as(ActionKind::Backward)});
      }
      for (const std::vector<Action>& backward : backwards) {
        const Action forward{ActionKind::Forward, stage, 0};
        Kept kept = kept_by(losses, forward);
        Kept by_layers = kept_by_layers(losses, forward);
        Kept by_head = kept_by_head(losses, forward);
        for (const Action& action : backward) {
          kept += kept_by(losses, action);
          by_layers += kept_by_layers(losses, action);
          by_head += kept_by_head(losses, action);
        }
        EXPECT_EQ(kept, Kept{}) << losses_text(losses) << stage;
        EXPECT_EQ(by_layers, Kept{}) << losses_text(losses) << stage;
        EXPECT_EQ(by_head, Kept{}) << losses_text(losses) << stage;
      }
    }
  }
  const Losses losses = three_stages("cut").losses;
  EXPECT_EQ(kept_by(losses, parse_action("1I0@1")), Kept{});
  EXPECT_EQ(kept_by(losses, parse_action("1I0@2")), (Kept{-1, 0, 1}));
  EXPECT_EQ(kept_by(losses, parse_action("1W0")), (Kept{0, -1, -1}));
  EXPECT_EQ(kept_by_layers(losses, parse_action("1I0@1")), (Kept{0, 1, 1})) << "of a copy";
  EXPECT_EQ(kept_by_layers(losses, parse_action("1I0@2")), (Kept{-1, 0, 1}));
  EXPECT_EQ(kept_by_layers(losses, parse_action("1W0")), (Kept{0, -2, -2}));
  EXPECT_EQ(kept_by_head(losses, parse_action("1I0@1")), (Kept{-1, 0, 1}));
  EXPECT_EQ(kept_by_head(losses, parse_action("1I0@2")), Kept{});
}

}  // namespace
}  // namespace halfback
