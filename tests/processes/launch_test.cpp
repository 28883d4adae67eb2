// Runs over several processes that end well, are interrupted, or start again.
#include "halfback/transport/store.h"
#include "tests/support/process_training.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace halfback::testing {
namespace {

class LaunchTest : public ProcessTrainingTest {
 protected:
  std::string equal_to(const std::string& checkpoint) const {
    return "--layers 4 --ranks 4 --micro-batches 4 --steps 60 --checkpoint " + path(checkpoint) +
           " ";
  }
};

TEST_F(LaunchTest, ProcessesMakeTheBitsOfOne) {
  output_of(train(equal_to("one")));
  for (const char* count : {"1", "2", "4"}) {
    const std::string text = output_of(train(equal_to("many") + "--processes " + count));
    EXPECT_TRUE(contains(text, "\nloss: ")) << text;
    EXPECT_FALSE(contains(text, "[process")) << "only the first process speaks: " << text;
    EXPECT_TRUE(tensors("many") == tensors("one")) << count;
  }
}

TEST_F(LaunchTest, ASignalEndsAllAfterOneStepAndTheRunGoesOn) {
  output_of(train(equal_to("straight")));
  for (const int signal : {SIGINT, SIGTERM}) {
    const auto run = start("--micro-batches 4 --checkpoint " + path("stopped"));
    run->wait_for("step 1/");
    run->send(signal);
    EXPECT_EQ(run->wait(), 130) << run->text();
    EXPECT_TRUE(contains(run->text(), "; continue with --resume\n")) << run->text();
    EXPECT_TRUE(mark_.processes().empty());
    expect_files({"text.txt", "straight", "stopped"});
  }
}

TEST_F(LaunchTest, ASignalEndsAProcessThatWaitsForOthers) {
  const StoreServer store("127.0.0.1", 0);
  RunningProcess run(command(train("")),
                     {mark_.text(), "HALFBACK_PROCESS=0", "HALFBACK_PROCESSES=2",
                      fmt::format("HALFBACK_STORE=127.0.0.1:{}", store.port())});
  run.wait_for("waiting for ");
  run.send(SIGTERM);
  EXPECT_EQ(run.wait(), -SIGTERM) << run.text();
}

TEST_F(LaunchTest, AfterAFailureTheRunStartsAgainFromItsCheckpoint) {
  const std::string options =
      "--layers 4 --ranks 4 --steps 2000 --checkpoint-every 100 --checkpoint ";
  output_of(train(options + path("straight")));
  std::mt19937 random(9);
  RunningProcess run(command(train(options + path("restarted") +
                                   " --processes 2 --max-restarts 3 --log-dir " + path("logs"))),
                     {mark_.text()});
  run.wait_for("step 151/");
  disturb(1, SIGKILL, random);
  run.wait_for("\nrestart 1 of 3: resuming from checkpoint " + path("restarted"));
  run.wait_for("resumed: ");
  disturb(0, SIGKILL, random);
  run.wait_for("\nrestart 2 of 3: resuming from checkpoint " + path("restarted"));
  EXPECT_EQ(run.wait(), 0) << run.text();
  EXPECT_TRUE(tensors("restarted") == tensors("straight"));
  expect_files({"text.txt", "straight", "restarted", "logs"});
  EXPECT_TRUE(contains(slurp(directory_ / "logs" / "process_0.log"), "resumed: "));
}

TEST_F(LaunchTest, WithoutACheckpointItBeginsAnewAndGivesUpInTheEnd) {
  output_of(train("--checkpoint " + path("old")));  // of another run: not gone on from
  RunningProcess run(command(train("--processes 2 --warmup 0 --learning-rate 1e30 --max-restarts 1 "
                                   "--checkpoint " +
                                   path("old"))),
                     {mark_.text()});
  expect_one_failure(run, {"the run has diverged"});
  EXPECT_TRUE(contains(run.text(), "\nrestart 1 of 1: this run has no checkpoint yet"))
      << run.text();
}

}  // namespace
}  // namespace halfback::testing
