// A network over a process group that somebody else made, whose own timeout is 2 s.
#include "tests/support/errors.h"
#include "tests/support/process_run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace halfback::testing {
namespace {

std::vector<std::string> peer(const std::string& scenario, int number) {
  return {HALFBACK_PEER, scenario, std::to_string(number)};
}

// The variables of a peer that is given a group.
std::vector<std::string> given(const std::string& how, const std::vector<std::string>& more = {}) {
  std::vector<std::string> variables = {"PEER_GIVEN=" + how};
  variables.insert(variables.end(), more.begin(), more.end());
  return variables;
}

TEST(ProcessGroupTest, MessagesOfChangingLayoutsArriveInOrderOnAllChannels) {
  ProcessRun(2, peer("messages", 2), given("right")).expect_success();
  ProcessRun(3, peer("messages", 3), given("right")).expect_success();
  ProcessRun(2, peer("messages", 4), given("right")).expect_success();
}

TEST(ProcessGroupTest, AChannelHoldsExactlyItsCapacity) {
  for (const int capacity : {1, 2, 3}) {
    ProcessRun(2, peer("capacity", capacity), given("right")).expect_success();
  }
}

TEST(ProcessGroupTest, ExchangesBeginInAnyOrder) {
  ProcessRun(2, peer("exchanges", 4), given("right")).expect_success();
}

TEST(ProcessGroupTest, ClocksOfOneMachineDifferByNoMoreThanTheError) {
  ProcessRun(2, peer("clocks", 2), given("right")).expect_success();
}

TEST(ProcessGroupTest, AWaitLongerThanTheTimeoutOfTheGroupLeavesItsConnectionsAsTheyAre) {
  ProcessRun(2, peer("refusals", 2), given("right", {"PEER_WAIT=3"})).expect_success();
}

TEST(ProcessGroupTest, AFailureStopsTheWaitsOfAll) {
  ProcessRun run(3, peer("fail_one", 3), given("right"));
  for (int i = 0; i < run.count(); ++i) {
    EXPECT_EQ(run[i].wait(), 1);
    EXPECT_TRUE(contains(run[i].text(), "rank 1, position 4, 1F2: out of memory")) << run[i].text();
  }
}

TEST(ProcessGroupTest, AKilledProcessEndsAllOthersAtOnce) {
  ProcessRun run(3, peer("wait_for_ever", 3), given("right"));
  run.wait_for_all("ready");
  run[1].send(SIGKILL);
  for (const int i : {0, 2}) {
    EXPECT_EQ(run[i].wait(), 1);
    EXPECT_TRUE(contains(run[i].text(), fmt::format("process 1 (rank 1, pid {} on", run[1].id())))
        << run[i].text();
    EXPECT_TRUE(contains(run[i].text(), ") is gone: ")) << run[i].text();
  }
}

// Both processes refuse, and either may be the first.
TEST(ProcessGroupTest, AGroupThatCannotServeIsRefused) {
  const auto expect = [](const std::string& how, const std::vector<std::string>& texts) {
    ProcessRun run(2, peer("messages", 2), given(how));
    EXPECT_EQ(run[0].wait(), 1);
    const std::string found = run[0].text();
    EXPECT_TRUE(std::ranges::any_of(texts, [&](const auto& one) { return contains(found, one); }))
        << found;
  };
  const std::string give_all = "; give a group of all processes of the run, in their order";
  expect("too small",
         {"this is process 0 of 1 in the process group, and process 0 of 2 in the run" + give_all,
          "this is process 0 of 1 in the process group, and process 1 of 2 in the run" + give_all});
  expect("reversed",
         {"this is process 1 of 2 in the process group, and process 0 of 2 in the run" + give_all,
          "this is process 0 of 2 in the process group, and process 1 of 2 in the run" + give_all});
  expect("other backend", {"transport: the process group's backend for CPU tensors is mpi; "});
  expect("no backend", {"transport: the process group's backend for CPU tensors is none; "});
  expect("twice", {"transport: this process group has been given to a network before, "});
}

}  // namespace
}  // namespace halfback::testing
