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

TEST(DataflowTest, CutsSayWhichHalfTakesAGradient) {
  const Schedule schedule = three_stages("cut");
  ASSERT_TRUE(schedule.losses.weight_takes(1)) << "the loss of stage 2 ends there, its own goes on";
  EXPECT_EQ(inputs(schedule, "1I0"), "1F0 ");
  EXPECT_EQ(inputs(schedule, "1W0"), "1I0 2I0 ");
  EXPECT_EQ(inputs(schedule, "0B0"), "0F0 1I0 ");
  EXPECT_TRUE(gives_to_neighbor(schedule, parse_action("1I0")));
  EXPECT_TRUE(gives_to_neighbor(schedule, parse_action("2I0")));
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
      for (const bool is_split : {false, true}) {
        Kept kept;
        Kept by_layers;
        Kept by_head;
        for (const Action& action :
             {Action{ActionKind::Forward, stage, 0}, Action{ActionKind::Backward, stage, 0},
              Action{ActionKind::BackwardInput, stage, 0},
              Action{ActionKind::BackwardWeight, stage, 0}}) {
          const bool runs = action.kind == ActionKind::Forward ||
                            (action.kind == ActionKind::Backward) != is_split;
          kept += runs ? kept_by(losses, action) : Kept{};
          by_layers += runs ? kept_by_layers(losses, action) : Kept{};
          by_head += runs ? kept_by_head(losses, action) : Kept{};
        }
        EXPECT_EQ(kept, Kept{}) << losses_text(losses) << stage << is_split;
        EXPECT_EQ(by_layers, Kept{}) << losses_text(losses) << stage << is_split;
        EXPECT_EQ(by_head, Kept{}) << losses_text(losses) << stage << is_split;
      }
    }
  }
  const Losses losses = three_stages("cut").losses;
  EXPECT_EQ(kept_by(losses, {ActionKind::BackwardInput, 1, 0}), (Kept{0, 0, 1}));
  EXPECT_EQ(kept_by(losses, {ActionKind::BackwardWeight, 1, 0}), (Kept{-1, -1, -1}));
  EXPECT_EQ(kept_by(losses, {ActionKind::BackwardInput, 0, 0}), (Kept{-1, 0, 1}));
  const Losses all(3, {{0, 0}, {1, 0}, {2, 0}});
  EXPECT_EQ(kept_by_layers(all, {ActionKind::BackwardInput, 0, 0}), (Kept{-1, 2, 3}))
      << "two of three gradients use copies";
}

}  // namespace
}  // namespace halfback
