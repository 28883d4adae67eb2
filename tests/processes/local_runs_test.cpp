// Runs by losses inside the model over several processes: the bits of one process, also after
// failures at any moment.
#include "halfback/checkpoint/training_state.h"
#include "tests/support/process_training.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <random>

namespace halfback::testing {
namespace {

class LocalRunsTest : public ProcessTrainingTest {
 protected:
  // The run of so many kills is stopped at some step, and equals the one that went there
  // undisturbed.
  void live_through(int num_kills, const std::string& head) const {
    const std::string options =
        "--scheme greedy --clip-scope stage --learning-rate-floor 1 --checkpoint-every 20 "
        "--local-head " +
        head + " --checkpoint ";
    std::mt19937 random(12);
    const auto run = start(options + path("killed") + fmt::format(" --max-restarts {}", num_kills));
    for (int kill = 1; kill <= num_kills; ++kill) {
      if (kill == 1) {
        run->wait_for("step 51/");
      } else {
        run->wait_for("resumed: ", kill - 1);
      }
      disturb(kill % 2, SIGKILL, random);
      run->wait_for(fmt::format("\nrestart {} of {}: ", kill, num_kills));
    }
    run->wait_for("resumed: ", num_kills);
    run->send(SIGTERM);
    ASSERT_EQ(run->wait(), 130) << run->text();
    // The first kill came after step 51, and so after the checkpoint of step 40. A slow run is
    // killed again before it has the next one.
    const std::int64_t num_steps = read_training_state(path("killed")).step;
    EXPECT_GE(num_steps, 40);
    output_of(train(options + path("straight") +
                    fmt::format(" --ranks 4 --layers 4 --steps {}", num_steps)));
    EXPECT_TRUE(tensors("killed") == tensors("straight")) << num_steps << " steps";
  }
};

TEST_F(LocalRunsTest, ProcessesMakeTheBitsOfOne) {
  for (const char* scheme :
       {"greedy --ranks 4", "chunked --ranks 4", "overlapping --window 3 --ranks 4",
        "interlocking --ranks 4", "interlocking --distance 2 --ranks 4",
        "1f1b --losses 0:0,2:1,3:none --loss-weights mean --ranks 4",
        "interlocking --ranks 2 --data-parallel 2",
        "greedy --ranks 2 --data-parallel 2 --shard-optimizer",
        "greedy --ranks 4 --local-head shared --head-refresh 3",
        "overlapping --ranks 4 --local-head shared --head-refresh 1",
        "greedy --ranks 2 --data-parallel 2 --shard-optimizer --local-head shared"}) {
    const std::string options = fmt::format(
        "--scheme {} --clip-scope stage --layers 4 --micro-batches 4 "
        "--steps 20 --checkpoint-every 7 --checkpoint ",
        scheme);
    output_of(train(options + path("one")));
    for (const char* count : {"2", "4"}) {
      output_of(train(options + path("many") + " --processes " + count));
      EXPECT_TRUE(tensors("many") == tensors("one")) << scheme << " over " << count;
    }
  }
}

// All processes find the one ranking of the whole model.
TEST_F(LocalRunsTest, ProcessesPruneAsOne) {
  for (const char* options :
       {"--scheme greedy --ranks 4 --clip-scope stage --sparsity 0.9",
        "--schedule 1f1b --ranks 4 --sparsity 0.5 --prune magnitude --tied-head",
        "--schedule zb-h1 --ranks 2 --data-parallel 2 --shard-optimizer --sparsity 0.9",
        "--schedule 1f1b --ranks 4 --sparsity 0.3 --prune random --optimizer sgd --nesterov"}) {
    const std::string all = fmt::format(
        "{} --layers 4 --micro-batches 4 --steps 8 --checkpoint-every 3 --keep 2 --checkpoint ",
        options);
    output_of(train(all + path("one")));
    for (const char* count : {"2", "4"}) {
      output_of(train(all + path("many") + " --processes " + count));
      EXPECT_TRUE(tensors("many") == tensors("one")) << options << " over " << count;
    }
  }
}

TEST_F(LocalRunsTest, KilledAtAnyMomentItContinuesToTheSameBits) { live_through(20, "linear"); }

TEST_F(LocalRunsTest, KilledAtAnyMomentSharedHeadsContinueToTheSameBits) {
  live_through(10, "shared --head-refresh 1");
}

// Its checkpoints, of every 20th step, lie between two refreshes. The stages become longer, so no
// norm of theirs may be limited.
TEST_F(LocalRunsTest, SharedHeadsContinueBetweenTwoRefreshesOnAnotherNumberOfRanks) {
  const std::string options =
      "--clip 0 --learning-rate-floor 1 --micro-batches 4 --local-head shared "
      "--head-refresh 37 --checkpoint-every 20 --checkpoint ";
  const auto run = start("--scheme chunked --chunks 2 " + options + path("killed"));
  run->wait_for("step 51/");
  ASSERT_EQ(::kill(mark_.process(1), SIGKILL), 0);
  EXPECT_EQ(run->wait(), 1) << run->text();
  const std::int64_t num_done = read_training_state(path("killed")).step;
  const std::string rest =
      fmt::format(" --scheme greedy --ranks 2 --layers 4 --steps {}", num_done + 40);
  output_of(train(options + path("straight") + rest));
  output_of(train(options + path("killed") + rest + " --resume"));
  EXPECT_TRUE(tensors("killed") == tensors("straight")) << num_done;
}

}  // namespace
}  // namespace halfback::testing
