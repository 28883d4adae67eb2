// Ranks in real processes: messages, capacity, exchanges, deadlines.
#include "tests/support/process_run.h"

#include <gtest/gtest.h>

#include <string>

namespace halfback::testing {
namespace {

std::vector<std::string> peer(const std::string& scenario, int num_ranks) {
  return {HALFBACK_PEER, scenario, std::to_string(num_ranks)};
}

TEST(C10dTest, MessagesOfChangingLayoutsArriveInOrderOnAllChannels) {
  ProcessRun(2, peer("messages", 2)).expect_success();
  ProcessRun(3, peer("messages", 3)).expect_success();
  ProcessRun(4, peer("messages", 4)).expect_success();
}

TEST(C10dTest, RanksOfOneProcessAndOfOthersMix) {
  ProcessRun(2, peer("messages", 4)).expect_success();
}

TEST(C10dTest, AChannelHoldsExactlyItsCapacity) {
  for (const int capacity : {1, 2, 3, 8}) {
    ProcessRun(2, peer("capacity", capacity)).expect_success();
  }
}

TEST(C10dTest, ExchangesBeginInAnyOrder) {
  ProcessRun(2, peer("exchanges", 2)).expect_success();
  ProcessRun(2, peer("exchanges", 4)).expect_success();
}

TEST(C10dTest, AllRanksSeeTheValuesOfAll) {
  ProcessRun(3, peer("gather", 3)).expect_success();
  ProcessRun(2, peer("gather", 4)).expect_success();
}

TEST(C10dTest, ClocksOfOneMachineDifferByNoMoreThanTheError) {
  ProcessRun(3, peer("clocks", 3)).expect_success();
}

TEST(C10dTest, ChannelsCountWhatTheyCarry) { ProcessRun(2, peer("links", 2)).expect_success(); }

TEST(C10dTest, DeadlinesAndWrongOrdersSayWhatWasWaitedFor) {
  ProcessRun(2, peer("refusals", 2), {"PEER_WAIT=0.5"}).expect_success();
}

TEST(C10dTest, EveryOperationOfAGroupEndsAtTheDeadlineWhenAMemberStaysAway) {
  ProcessRun(2, peer("absences", 2), {"PEER_WAIT=0.5"}).expect_success();
}

}  // namespace
}  // namespace halfback::testing
