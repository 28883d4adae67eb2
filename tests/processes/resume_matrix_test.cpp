// A run may go on with other stages, replicas of the weights, schedules and processes than it began
// with, and ends with the bits of the run that was never interrupted.
#include "tests/support/process_training.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace halfback::testing {
namespace {

// 4 micro-batches a step, in 2 gradient groups.
const std::vector<std::string> kShapes = {
    "--ranks 1 --schedule gpipe --micro-batches 4",
    "--ranks 4 --schedule 1f1b-1 --two-stage off",
    "--ranks 2 --schedule zb-v --micro-batches 4 --processes 2",
    "--ranks 2 --data-parallel 2 --schedule 1f1b --micro-batches 2 --shard-optimizer",
    "--ranks 2 --data-parallel 2 --schedule gpipe --micro-batches 2 --processes 4",
    "--ranks 4 --schedule chimera --micro-batches 4 --processes 2",
};

class ResumeMatrixTest : public ProcessTrainingTest {
 protected:
  std::string run(const std::string& shape, const std::string& checkpoint) const {
    return train(shape +
                 " --layers 4 --steps 6 --gradient-groups 2 --checkpoint-every 3 --keep 2"
                 " --checkpoint " +
                 path(checkpoint));
  }
};

TEST_F(ResumeMatrixTest, AnyShapeGoesOnFromAnyOther) {
  output_of(run(kShapes.front(), "straight"));
  const auto expected = tensors("straight");
  for (std::size_t first = 0; first < kShapes.size(); ++first) {
    output_of(run(kShapes[first], "first"));
    EXPECT_TRUE(tensors("first") == expected) << kShapes[first];
    // Every other shape goes on from a half once; the next ones take others.
    for (std::size_t second = (first + 1) % 2; second < kShapes.size(); second += 2) {
      std::filesystem::remove_all(path("second"));
      std::filesystem::copy(path("first.step-3"), path("second"),
                            std::filesystem::copy_options::recursive);
      const std::string said = output_of(run(kShapes[second], "second") + " --resume");
      EXPECT_TRUE(contains(said, "resumed: 3 steps are done")) << said;
      EXPECT_TRUE(tensors("second") == expected) << kShapes[first] << ", then " << kShapes[second];
    }
    std::filesystem::remove_all(path("first"));
    std::filesystem::remove_all(path("first.step-3"));
  }
}

TEST_F(ResumeMatrixTest, GradientGroupsAreThoseOfTheCheckpoint) {
  output_of(run(kShapes.front(), "groups"));
  const std::string shape =
      "--layers 4 --ranks 1 --schedule gpipe --micro-batches 4 --steps 7 "
      "--checkpoint " +
      path("groups") + " --resume ";
  EXPECT_TRUE(contains(output_of(train(shape)), "resumed: 6 steps are done"));
  const CommandResult other = run_halfback(train(shape + "--gradient-groups 4 2>&1"));
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_TRUE(contains(other.output, "the run was with --gradient-groups 2, this one has 4"))
      << other.output;
}

}  // namespace
}  // namespace halfback::testing
