// Runs over real processes in which one is killed, stopped, or runs out of what it needs: all end,
// one message says what failed first and where everybody was, and nothing is left.
#include "tests/support/process_training.h"
#include "tests/support/small_disk.h"

#include <gtest/gtest.h>

namespace halfback::testing {
namespace {

class FaultTest : public ProcessTrainingTest {};

TEST_F(FaultTest, AKilledProcessEndsTheRunWhereverItWas) {
  std::mt19937 random(7);
  for (int round = 0; round < 6; ++round) {
    const int victim = round % 2;
    const auto run = start("--checkpoint " + path("run") + " --checkpoint-every 20");
    run->wait_for("step 51/");
    disturb(victim, SIGKILL, random);
    const std::string name = victim == 0 ? "process 0 (ranks 0-1" : "process 1 (ranks 2-3";
    expect_one_failure(*run, {"error: " + name + ") was ended by signal 9 (Killed); ",
                              " is gone: ", "\n  process 0 (ranks 0-1, pid ", "rank 0 is ",
                              "rank 3 is ", "the last checkpoint is of step "});
    output_of(
        train("--resume --steps 1 --micro-batch-size 2 --layers 4 --checkpoint " + path("run")));
    expect_files({"text.txt", "run"});
  }
}

TEST_F(FaultTest, AStoppedProcessIsMissedAndEnded) {
  std::mt19937 random(8);
  const auto run = start("--timeout 10");
  run->wait_for("step 51/");
  disturb(1, SIGSTOP, random);
  expect_one_failure(*run, {"process 1 (ranks 2-3",
                            "has sent no heartbeat for 10 s; last known position: ", "rank 0 is ",
                            "rank 3 is ", "this run has no checkpoint yet"});
}

TEST_F(FaultTest, NoProcessOutlivesItsLauncher) {
  for (const int signal : {SIGKILL, SIGABRT}) {
    const auto run = start("");
    run->wait_for("step 51/");
    run->send(signal);
    EXPECT_EQ(run->wait(), -signal);
    EXPECT_TRUE(mark_.wait_until_none());
  }
}

TEST_F(FaultTest, AFullDiskEndsTheRun) {
  const SmallDisk disk(300);  // has room for one checkpoint, and not for the next one beside it
  const auto run =
      start("--checkpoint-every 5 --checkpoint " + (disk.path() / "checkpoint").string());
  expect_one_failure(
      *run, {"checkpoint.tmp.", ".safetensors: cannot write: No space left on device; make room"});
  EXPECT_EQ(num_entries(disk.path()), 1);
}

TEST_F(FaultTest, ALayerThatFindsNoMemoryIsNamed) {
  // Scores of all tokens for 16384 targets take 13 GB, on the rank with the loss.
#ifdef __SANITIZE_ADDRESS__  // takes all of the address space by itself
  const std::string limit =
      "export ASAN_OPTIONS=allocator_may_return_null=1:max_allocation_size_mb=9000";
#else
  const std::string limit = "ulimit -v 10000000";
#endif
  const std::string limited = limit + "; exec " HALFBACK_BINARY " " +
                              train("--processes 2 --vocabulary 200000 --micro-batch-size 1024");
  RunningProcess run({"/bin/sh", "-c", limited}, {mark_.text()});
  expect_one_failure(
      run, {"process 1 (rank 1, pid ", "rank 1, position 1, 1F0: memory: ", "bytes were refused"});
}

}  // namespace
}  // namespace halfback::testing
