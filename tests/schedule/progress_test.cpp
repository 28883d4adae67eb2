// Which schedules run under which channel rule, and what is said of those that do not: known hangs,
// and whatever can be drawn, against a reference that tries every rank again and again.
#include "halfback/schedule/communication.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/validate.h"
#include "tests/support/random_schedule.h"
#include "tests/support/schedules.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <list>
#include <set>

namespace halfback {
namespace {

using testing::Dice;
using testing::error_of;
using testing::has_text;
using testing::parse;

std::string fault(const Schedule& schedule, ChannelRule channel) {
  return error_of([&] { validate(schedule, {.channel = channel}); });
}

// The orders that the issue "Pipeline communication blocks the execution of pipeline stages",
// pytorch/pytorch#172668, quotes as hanging on two nodes, on two ranks of two stages each. The
// issue has the ends only, "0SendF1, 2RecvF0, 2F0" and "1SendF0, 1RecvF1, 1F1"; around them stands
// what leads there and goes on: every receive right before its use.
constexpr const char* kDeferredReceives =
    "0F0,0SEND_F0,0F1,0SEND_F1,2RECV_F0,2F0,2SEND_F0,2RECV_F1,2F1,2SEND_F1,"
    "2RECV_B0,2B0,2SEND_B0,2RECV_B1,2B1,2SEND_B1,0RECV_B0,0B0,0RECV_B1,0B1\n"
    "1RECV_F0,1F0,1SEND_F0,1RECV_F1,1F1,1SEND_F1,3RECV_F0,3F0,3B0,3SEND_B0,"
    "3RECV_F1,3F1,3B1,3SEND_B1,1RECV_B0,1B0,1SEND_B0,1RECV_B1,1B1,1SEND_B1\n";

// The second try there: odd ranks receive before they send. "2SEND_F1, 0F2, 0SEND_F2, 2RECV_B0,
// 2B0" and "3RECV_F1, 3SEND_B0, 3F1, 3B1, 1RECV_F2, 3SEND_B1, 1F2".
constexpr const char* kOddRanksReceiveFirst =
    "0F0,0SEND_F0,0F1,0SEND_F1,2RECV_F0,2F0,2SEND_F0,2RECV_F1,2F1,2SEND_F1,0F2,0SEND_F2,2RECV_B0,"
    "2B0,2SEND_B0,2RECV_B1,2B1,2SEND_B1,2RECV_F2,2F2,2SEND_F2,2RECV_B2,2B2,2SEND_B2,"
    "0RECV_B0,0B0,0RECV_B1,0B1,0RECV_B2,0B2\n"
    "1RECV_F0,1F0,1RECV_F1,1SEND_F0,1F1,3RECV_F0,1SEND_F1,3F0,3B0,3RECV_F1,3SEND_B0,3F1,3B1,"
    "1RECV_F2,3SEND_B1,1F2,1SEND_F2,1RECV_B0,1RECV_B1,3RECV_F2,3F2,3B2,3SEND_B2,"
    "1RECV_B2,1B0,1SEND_B0,1B1,1SEND_B1,1B2,1SEND_B2\n";

// The same computing as PyTorch 2.13 lowers it (_add_send_recv): receives where their sends stand.
constexpr const char* kLoweredByTorch =
    "0F0,0SEND_F0,2RECV_F0,0F1,0SEND_F1,2RECV_F1,2F0,2SEND_F0,2F1,2SEND_F1,2RECV_B0,0F2,0SEND_F2,"
    "2B0,2SEND_B0,2RECV_B1,0F3,0SEND_F3,2RECV_F2,2B1,2SEND_B1,0RECV_B0,2F2,2SEND_F2,2RECV_F3,0B0,"
    "0RECV_B1,2F3,2SEND_F3,0B1,2RECV_B2,2B2,2SEND_B2,2RECV_B3,2B3,2SEND_B3,0RECV_B2,0B2,0RECV_B3,"
    "0B3\n"
    "1RECV_F0,1F0,1SEND_F0,1RECV_F1,1F1,1SEND_F1,3RECV_F0,3F0,3RECV_F1,3B0,3SEND_B0,1RECV_F2,3F1,"
    "1RECV_B0,3B1,3SEND_B1,1RECV_F3,1F2,1SEND_F2,1RECV_B1,1B0,1SEND_B0,3RECV_F2,1F3,1SEND_F3,1B1,"
    "1SEND_B1,3RECV_F3,3F2,3B2,3SEND_B2,1RECV_B2,3F3,3B3,3SEND_B3,1RECV_B3,1B2,1SEND_B2,1B3,"
    "1SEND_B3\n";

TEST(ProgressTest, DeferredReceivesRunBufferedAndHangAsRendezvous) {
  const Schedule schedule = parse(kDeferredReceives);
  EXPECT_EQ(fault(schedule, kBuffered), "no error");
  EXPECT_EQ(fault(schedule, {1}), "no error");
  EXPECT_EQ(fault(schedule, kNccl), "no error");
  EXPECT_EQ(smallest_channel_capacity(schedule), 1);
  EXPECT_EQ(fault(schedule, kRendezvous),
            "schedule: rank 0, position 3: 0SEND_F1 waits forever: 2 ranks wait for each other "
            "(rendezvous)\n"
            "  rank 0, position 3: 0SEND_F1 waits for 1RECV_F1 (rank 1, position 3)\n"
            "  rank 1, position 2: 1SEND_F0 waits for 2RECV_F0 (rank 0, position 4)\n"
            "position   0        1        2        3        4        5        6        7        8\n"
            "rank 0     0F0      0SEND_F0 0F1      0SEND_F1 2RECV_F0 2F0      2SEND_F0 2RECV_F1 "
            "2F1\n"
            "                                      ^^^^^^^^\n"
            "rank 1     1RECV_F0 1F0      1SEND_F0 1RECV_F1 1F1      1SEND_F1 3RECV_F0 3F0      "
            "3B0\n");
}

TEST(ProgressTest, DeferredReceivesHangWhereBothDirectionsShareAStream) {
  const std::string text = fault(parse(kDeferredReceives), kNcclPair);
  EXPECT_TRUE(has_text(text,
                       "rank 0, position 5: 2F0 waits forever: 2 ranks wait for each other "
                       "(nccl-pair)\n"))
      << text;
  EXPECT_TRUE(has_text(text,
                       "  rank 0, position 5: 2F0 waits for 2RECV_F0 (position 4), in a "
                       "stream behind 0SEND_F1 (position 3), whose other end is 1RECV_F1 "
                       "(rank 1, position 3), behind 1SEND_F0 (rank 1, position 2)\n"))
      << text;
  EXPECT_TRUE(has_text(text,
                       "  rank 1, position 4: 1F1 waits for 1RECV_F1 (position 3), in a "
                       "stream behind 1SEND_F0 (position 2), whose other end is 2RECV_F0 "
                       "(rank 0, position 4), behind 0SEND_F1 (rank 0, position 3)\n"))
      << text;
}

TEST(ProgressTest, ReceivingFirstOnOddRanksDoesNotHelp) {
  const Schedule schedule = parse(kOddRanksReceiveFirst);
  EXPECT_EQ(fault(schedule, kBuffered), "no error");
  EXPECT_EQ(fault(schedule, kNccl), "no error");
  const std::string text = fault(schedule, kRendezvous);
  EXPECT_TRUE(has_text(text, "0SEND_F2 waits for 1RECV_F2 (rank 1, position 13)\n")) << text;
  EXPECT_TRUE(has_text(text, "3SEND_B0 waits for 2RECV_B0 (rank 0, position 12)\n")) << text;
  EXPECT_TRUE(has_text(fault(schedule, kNcclPair), "2 ranks wait for each other (nccl-pair)"));
}

TEST(ProgressTest, WhatTorchLowersRunsUnderEveryRule) {
  const Schedule schedule = parse(kLoweredByTorch);
  for (const ChannelRule rule : {kBuffered, ChannelRule{1}, kRendezvous, kNccl, kNcclPair}) {
    EXPECT_EQ(fault(schedule, rule), "no error") << to_string(rule);
  }
  EXPECT_EQ(smallest_channel_capacity(schedule), 0);
}

TEST(ProgressTest, OurMessagesForARendezvousRunUnderEveryRule) {
  const Schedule schedule =
      add_communication(remove_communication(parse(kDeferredReceives)), kRendezvous);
  for (const ChannelRule rule : {kBuffered, ChannelRule{1}, kRendezvous, kNccl, kNcclPair}) {
    EXPECT_EQ(fault(schedule, rule), "no error") << to_string(rule);
  }
}

// The gradient's receive is posted before the activation that it follows from is sent.
constexpr const char* kEarlyReceive =
    "0F0,0RECV_B0,0SEND_F0,0B0\n"
    "1RECV_F0,1F0,1B0,1SEND_B0\n";

TEST(ProgressTest, AReceivePostedEarlyRunsInAStreamOfItsOwnOnly) {
  const Schedule schedule = parse(kEarlyReceive);
  EXPECT_EQ(fault(schedule, kNccl), "no error");
  EXPECT_TRUE(has_text(fault(schedule, kBuffered),
                       "  rank 0, position 1: 0RECV_B0 waits for 1SEND_B0 (rank 1, position 3)\n"
                       "  rank 1, position 0: 1RECV_F0 waits for 0SEND_F0 (rank 0, position 2)\n"));
  const std::string pair = fault(schedule, kNcclPair);
  EXPECT_TRUE(has_text(pair,
                       "  rank 0, position 3: 0B0 waits for 0RECV_B0 (position 1), whose "
                       "other end is 1SEND_B0 (rank 1, position 3), to which rank 1 does not "
                       "come\n"))
      << pair;
  EXPECT_TRUE(has_text(pair,
                       "  rank 1, position 1: 1F0 waits for 1RECV_F0 (position 0), whose "
                       "other end is 0SEND_F0 (rank 0, position 2), behind 0RECV_B0 (rank 0, "
                       "position 1)\n"))
      << pair;
}

TEST(ProgressTest, RoomInAFullChannelIsNamed) {
  const std::string text = fault(parse("0F0,0SEND_F0,0F1,0SEND_F1,0F2,0SEND_F2,0F3,0SEND_F3,"
                                       "0RECV_B0,0B0,0RECV_B1,0B1,0RECV_B2,0B2,0RECV_B3,0B3\n"
                                       "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1,"
                                       "1RECV_F2,1F2,1B2,1SEND_B2,1RECV_F3,1F3,1B3,1SEND_B3\n"),
                                 {1});
  EXPECT_TRUE(has_text(text,
                       "  rank 0, position 7: 0SEND_F3 waits for room in the channel to rank "
                       "1, which holds 1; 1RECV_F2 (rank 1, position 8) would make some\n"
                       "  rank 1, position 7: 1SEND_B1 waits for room in the channel to rank "
                       "0, which holds 1; 0RECV_B0 (position 8) would make some\n") ||
              has_text(text, "0RECV_B0 (rank 0, position 8) would make some\n"))
      << text;
}

TEST(ProgressTest, RanksThatOnlyWaitForTheCycleAreCounted) {
  // Ranks 1 and 2 send to each other at once; the others starve.
  const Schedule schedule = add_communication(testing::family("1f1b-1", 4));
  const std::string text = fault(schedule, kRendezvous);
  EXPECT_TRUE(has_text(text, "2 ranks wait for each other (rendezvous)")) << text;
  EXPECT_TRUE(has_text(text, "  2 other ranks wait for one of these, or for one that does\n"))
      << text;
}

// Rank 0 updates stage 0 before it gives rank 1 what leads there.
TEST(ProgressTest, UpdatesOfReplicasWaitForTheReductionsOfAll) {
  const std::string text =
      "# halfback schedule micro_batches=2 placement=0,1|1,0 replicas=0,1\n"
      "0F0,1F1,1B1,0B0,0REDUCE_GRAD,{}1REDUCE_GRAD,{}1U\n"
      "0F1,1F0,1B0,0B1,1REDUCE_GRAD,{}0REDUCE_GRAD,{}0U\n";
  const auto written = [&](const char* a, const char* b, const char* c, const char* d) {
    return parse(fmt::format(fmt::runtime(text), a, b, c, d));
  };
  validate(written("", "0U,", "", "1U,"));
  const std::string found = fault(written("0U,", "", "1U,", ""), kBuffered);
  EXPECT_TRUE(has_text(found, "rank 0, position 5: 0U waits forever: 2 ranks wait")) << found;
  EXPECT_TRUE(has_text(found,
                       "  rank 0, position 5: 0U waits for 0REDUCE_GRAD (rank 1, position 6)\n"
                       "  rank 1, position 5: 1U waits for 1REDUCE_GRAD (rank 0, position 6)\n"))
      << found;
}

TEST(ProgressTest, ALongCycleIsCutShort) {
  // A loop whose ranks all want their second stage first.
  std::string text;
  for (int rank = 0; rank < 20; ++rank) {
    text += fmt::format("{1}F0,{0}F0,{1}B0,{0}B0\n", rank, rank + 20);
  }
  const std::string found = fault(parse(text), kBuffered);
  EXPECT_TRUE(has_text(found, "20 ranks wait for each other (buffered)\n")) << found;
  EXPECT_TRUE(has_text(found,
                       "  rank 0, position 0: 20F0 waits for 19F0 (rank 19, position 1)\n"
                       "  rank 19, position 0: 39F0 waits for 38F0 (rank 18, position 0)\n"))
      << found;
  EXPECT_TRUE(has_text(found, "  and 4 ranks more of this cycle\n")) << found;
}

// What a rule says, step by step: a rank may pass its current action when the rule lets it, and all
// ranks are tried until none may. Nothing of the library's own dry run is used.
class Reference {
 public:
  Reference(const Schedule& schedule, ChannelRule rule) : schedule_(schedule), rule_(rule) {
    at_.resize(schedule.ranks.size());
  }

  bool finishes() {
    bool moved = true;
    while (moved) {
      moved = pass_streams();
      for (int rank = schedule_.num_ranks() - 1; rank >= 0; --rank) {
        moved = step(rank) || moved;
      }
    }
    for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
      if (current(rank)) {
        return false;
      }
    }
    return posted_.empty();
  }

 private:
  // A message that one rank has posted to a stream.
  struct Posted {
    int rank;
    Action action;
  };

  std::optional<Action> current(int rank) const {
    const auto& list = schedule_.ranks[static_cast<std::size_t>(rank)];
    const std::size_t at = at_[static_cast<std::size_t>(rank)];
    return at < list.size() ? std::optional(list[at]) : std::nullopt;
  }

  void pass(int rank) { ++at_[static_cast<std::size_t>(rank)]; }

  int peer(const Action& message) const {
    return schedule_.placement.rank_of(counterpart(message));
  }

  bool has_room(int rank, int other) const {
    return std::count_if(in_channels_.begin(), in_channels_.end(), [&](const Posted& one) {
             return one.rank == rank && peer(one.action) == other;
           }) < rule_.capacity;
  }

  bool step(int rank) {
    const auto action = current(rank);
    if (!action) {
      return false;
    }
    if (!is_message(action->kind)) {
      const auto receive = needed_receive(schedule_, *action);
      if (rule_.streams != Streams::None && receive && !was_received(*receive)) {
        return false;
      }
      if (action->kind == ActionKind::Update && !all_have_reduced(action->stage)) {
        return false;
      }
      pass(rank);
      return true;
    }
    if (rule_.streams != Streams::None) {
      posted_.push_back({rank, *action});
      pass(rank);
      return true;
    }
    return is_send(action->kind) ? send(rank, *action) : receive(rank, *action);
  }

  bool all_have_reduced(int stage) const {
    for (std::size_t rank = 0; rank < at_.size(); ++rank) {
      const auto& list = schedule_.ranks[rank];
      const auto is_sum = [&](const Action& action) {
        return action.kind == ActionKind::ReduceGradient && action.stage == stage;
      };
      if (std::any_of(list.begin() + static_cast<std::ptrdiff_t>(at_[rank]), list.end(), is_sum)) {
        return false;
      }
    }
    return true;
  }

  bool was_received(const Action& receive) const {
    return std::find(received_.begin(), received_.end(), receive) != received_.end();
  }

  bool send(int rank, const Action& action) {
    const int other = peer(action);
    if (rule_.capacity == 0) {
      if (current(other) != counterpart(action)) {
        return false;
      }
      pass(other);
    } else if (!has_room(rank, other)) {
      return false;
    } else {
      in_channels_.push_back({rank, action});
    }
    pass(rank);
    return true;
  }

  bool receive(int rank, const Action& action) {
    const auto found =
        std::find_if(in_channels_.begin(), in_channels_.end(),
                     [&](const Posted& one) { return one.action == counterpart(action); });
    if (rule_.capacity == 0 || found == in_channels_.end()) {
      return false;
    }
    in_channels_.erase(found);
    pass(rank);
    return true;
  }

  // True when nothing before it is in the same stream of its rank.
  bool is_in_front(const Posted& one) const {
    for (const Posted& other : posted_) {
      if (other.rank == one.rank && other.action == one.action) {
        return true;
      }
      if (other.rank == one.rank && peer(other.action) == peer(one.action) &&
          (rule_.streams == Streams::PerPair ||
           is_send(other.action.kind) == is_send(one.action.kind))) {
        return false;
      }
    }
    return false;
  }

  bool pass_streams() {
    for (const Posted& one : posted_) {
      const Posted other{peer(one.action), counterpart(one.action)};
      if (is_receive(one.action.kind) && is_in_front(one) && is_in_front(other)) {
        received_.push_back(one.action);
        const Action receive = one.action;
        posted_.remove_if([&](const Posted& posted) {
          return posted.action == receive || posted.action == other.action;
        });
        return true;
      }
    }
    return false;
  }

  const Schedule& schedule_;
  ChannelRule rule_;
  std::vector<std::size_t> at_;
  std::list<Posted> in_channels_;
  std::list<Posted> posted_;
  std::vector<Action> received_;
};

// Moves a message to another place of its list.
void move_message(Schedule& schedule) {
  auto& list = schedule.ranks[*rc::gen::inRange<std::size_t>(0, schedule.ranks.size())];
  std::vector<std::ptrdiff_t> messages;
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (is_message(list[i].kind)) {
      messages.push_back(static_cast<std::ptrdiff_t>(i));
    }
  }
  if (messages.empty()) {
    return;
  }
  const auto from = list.begin() + *rc::gen::elementOf(messages);
  const auto distance = *rc::gen::inRange<std::ptrdiff_t>(1, 8);
  if (is_receive(from->kind)) {
    std::rotate(from - std::min(distance, from - list.begin()), from, from + 1);
  } else {
    std::rotate(from, from + 1, from + std::min(distance + 1, list.end() - from));
  }
}

TEST(ProgressTest, AddedMessagesRunUnderTheRuleThatTheyAreAddedFor) {
  const bool holds = rc::check([] {
    Dice dice(*rc::gen::arbitrary<unsigned>());
    const Schedule plain = testing::random_schedule(dice, testing::WithCuts::Yes);
    for (const ChannelRule rule : {kRendezvous, kNcclPair, kNccl, ChannelRule{1}, ChannelRule{2},
                                   ChannelRule{3}, kBuffered}) {
      const Schedule lowered = add_communication(plain, rule);
      RC_ASSERT(fault(lowered, rule) == "no error");
      RC_ASSERT(Reference(lowered, rule).finishes());
      RC_ASSERT(remove_communication(lowered) == plain);
    }
    const Schedule rendezvous = add_communication(plain, kRendezvous);
    for (const ChannelRule rule : {kNcclPair, kNccl, ChannelRule{1}, kBuffered}) {
      RC_ASSERT(Reference(rendezvous, rule).finishes());
    }
    RC_CLASSIFY(smallest_channel_capacity(add_communication(plain)) > 1);
  });
  EXPECT_TRUE(holds);
}

TEST(ProgressTest, EveryRuleAgreesWithTheReference) {
  const bool holds = rc::check([] {
    Dice dice(*rc::gen::arbitrary<unsigned>());
    Schedule schedule = add_communication(testing::random_schedule(dice, testing::WithCuts::Yes));
    if (dice.toss()) {
      schedule = testing::with_updates_of_replicas(dice, schedule);
    }
    const int num_moves = *rc::gen::inRange(0, 4);
    for (int i = 0; i < num_moves; ++i) {
      move_message(schedule);
    }
    std::vector<bool> runs;
    for (const ChannelRule rule :
         {kRendezvous, kNcclPair, kNccl, ChannelRule{1}, ChannelRule{2}, kBuffered}) {
      const std::string text = fault(schedule, rule);
      if (text != "no error" && !has_text(text, "waits forever")) {
        return;  // refused whatever the rule
      }
      runs.push_back(text == "no error");
      RC_ASSERT(runs.back() == Reference(schedule, rule).finishes());
    }
    // Weaker rules let run what stronger ones do.
    RC_ASSERT(runs[0] <= runs[1] && runs[1] <= runs[2]);
    RC_ASSERT(runs[0] <= runs[3] && runs[3] <= runs[4] && runs[4] <= runs[5]);
    RC_ASSERT(runs[5] <= runs[2]);
    RC_CLASSIFY(!runs[5]);
    RC_CLASSIFY(runs[5] && !runs[3]);
    RC_CLASSIFY(runs[3] && !runs[1]);
    RC_CLASSIFY(runs[1] && !runs[0]);
    if (runs[5]) {
      const int capacity = smallest_channel_capacity(schedule);
      RC_ASSERT(Reference(schedule, {capacity}).finishes());
      RC_ASSERT(capacity == 0 || !Reference(schedule, {capacity - 1}).finishes());
    }
  });
  EXPECT_TRUE(holds);
}

}  // namespace
}  // namespace halfback
