// The verb profile through the real binary, and what simulate makes of its file.
#include "tests/support/errors.h"
#include "tests/support/training_command.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>

namespace halfback::testing {
namespace {

class ProfileTest : public TrainingCommandTest {
 protected:
  // Returns "profile" of a model of 4 blocks and further arguments.
  static std::string profile(const std::string& arguments) {
    return "profile --layers 4 --width 16 --heads 2 --hidden 24 --sequence 16 --micro-batch-size 2"
           " --threads 1 --rounds 3 --warmup-rounds 1 " +
           arguments;
  }

  nlohmann::json simulated(const std::string& arguments) const {
    return nlohmann::json::parse(
        output_of("simulate " + arguments + " --format json --cost-file " + path("costs.json")));
  }
};

TEST_F(ProfileTest, SimulateTakesItsFile) {
  const std::string text = output_of(profile("--ranks 4 --output " + path("costs.json")));
  EXPECT_TRUE(contains(text, "model: llama: layers 4, width 16")) << text;
  EXPECT_TRUE(contains(text, "micro-batch: 32 tokens; threads: 1; rounds: 3 after 1\n")) << text;
  EXPECT_TRUE(contains(text, "\ncosts: " + path("costs.json"))) << text;

  const auto file = nlohmann::json::parse(slurp(directory_ / "costs.json"));
  const nlohmann::json& stages = file.at("stages");
  ASSERT_EQ(stages.size(), 4U);
  double longest = 0.0;
  for (const nlohmann::json& stage : stages) {
    double sum = 0.0;
    for (const char* cost : {"forward", "input", "weight"}) {
      EXPECT_GT(stage.at(cost), 0.0) << stage;
      sum += stage.at(cost).get<double>();
    }
    EXPECT_GT(stage.at("full"), 0.0) << stage;
    EXPECT_GT(stage.at("update"), 0.0) << stage;
    longest = std::max(longest, sum);
  }
  for (const char* two_stage : {"on", "off"}) {
    const auto found =
        simulated("1f1b --micro-batches 8 --ranks 4 --two-stage " + std::string(two_stage));
    EXPECT_GT(found.at("makespan"), 0.0);
    EXPECT_GT(found.at("ranks").at(3).at("memory").at("total"), 0);
  }
  EXPECT_GE(simulated("1f1b --micro-batches 8 --ranks 4").at("makespan"), 8 * longest);
  EXPECT_EQ(simulated("zb-v --ranks 2 --micro-batches 4").at("stages"), 4);
}

TEST_F(ProfileTest, BytesAreThoseOfTheRun) {
  output_of(profile("--ranks 2 --stages-per-rank 2 --output " + path("costs.json")));
  const auto predicted = simulated("gpipe --ranks 4 --micro-batches 3 --channel 16").at("ranks");
  output_of(
      train("--layers 4 --micro-batch-size 2 --schedule gpipe --ranks 4 --micro-batches 3"
            " --report " +
            path("report")));
  std::istringstream lines(slurp(directory_ / "report" / "metrics.jsonl"));
  std::string line;
  std::getline(lines, line);
  const auto measured = nlohmann::json::parse(line).at("memory_bytes");
  ASSERT_EQ(measured.size(), 4U);
  for (std::size_t rank = 0; rank < 4; ++rank) {
    const nlohmann::json& bytes = predicted[rank].at("memory");
    EXPECT_EQ(bytes.at("peak"), measured[rank].at("activations")) << rank;
    EXPECT_EQ(bytes.at("parameters"), measured[rank].at("parameters")) << rank;
    EXPECT_EQ(bytes.at("parameter_gradients"), measured[rank].at("gradients")) << rank;
    EXPECT_EQ(bytes.at("optimizer"), measured[rank].at("optimizer_state")) << rank;
  }
}

TEST_F(ProfileTest, SimulateTakesLossesInsideTheModel) {
  const std::string text =
      output_of(profile("--ranks 4 --losses 1:0,2:1,3:2 --local-head shared"
                        " --output " +
                        path("costs.json")));
  EXPECT_TRUE(contains(text, "own loss's I ms")) << text;
  const auto stages = nlohmann::json::parse(slurp(directory_ / "costs.json")).at("stages");
  EXPECT_GT(stages.at(1).at("own_input"), 0.0);
  EXPECT_GT(stages.at(1).at("memory").at("head").at("until_input"), 0);
  EXPECT_GT(simulated("overlapping --ranks 4").at("makespan"), 0.0);
}

TEST_F(ProfileTest, JsonIsTheFile) {
  spit(directory_ / "costs.json", output_of(profile("--ranks 2 --cut 3,1 --json")));
  EXPECT_GT(simulated("1f1b-1 --ranks 2").at("makespan"), 0.0);
  const auto stages = nlohmann::json::parse(slurp(directory_ / "costs.json")).at("stages");
  EXPECT_EQ(stages.at(0).at("activation_bytes"), 0);
  EXPECT_EQ(stages.at(1).at("activation_bytes"), 2 * 16 * 16 * 4);
  EXPECT_EQ(stages.at(1).at("gradient_bytes"), 0);
  EXPECT_GT(stages.at(0).at("memory").at("parameters"), stages.at(1).at("memory").at("parameters"));
}

TEST_F(ProfileTest, MeasuresEveryModel) {
  for (const char* model :
       {"bert --heads 2", "mamba", "mlp", "resnet --image-height 16 --image-width 16"}) {
    const auto stages = nlohmann::json::parse(
        output_of("profile --width 8 --ranks 2 --threads 1 --rounds 1 --warmup-rounds 0 --json"
                  " --micro-batch-size 1 --model " +
                  std::string(model)));
    EXPECT_EQ(stages.at("stages").size(), 2U) << model;
    EXPECT_GT(stages.at("stages").at(1).at("weight"), 0.0) << model;
  }
}

TEST_F(ProfileTest, RefusesWhatItCannotMeasure) {
  const auto expect_error = [&](const std::string& arguments, int exit_code,
                                const std::string& text) {
    const CommandResult result = run_halfback(profile(arguments) + " 2>&1 >/dev/null");
    EXPECT_EQ(result.exit_code, exit_code) << arguments;
    EXPECT_EQ(result.output.find("error: "), 0U) << result.output;
    EXPECT_TRUE(contains(result.output, text)) << result.output;
  };
  expect_error("--ranks 0", 2, "--ranks is 0; expected 1 to 1024");
  expect_error("--stages-per-rank 0", 2, "--stages-per-rank is 0; expected 1 to 1024");
  expect_error("--rounds 0", 2, "--rounds is 0; expected 1 or more");
  expect_error("--warmup-rounds -1", 2, "--warmup-rounds is -1; expected 0 or more");
  expect_error("--ranks 3 --stages-per-rank 2", 2, "cut: 4 blocks cannot be spread over 6 stages");
  expect_error("--losses 0:0", 2, "--losses: ");
  expect_error("--local-loss predsim", 2, "the schedule has no loss inside the model");
  expect_error("--outptu x", 2, "(did you mean output?)");
  expect_error("--data x", 2, "unknown option 'data' of profile");
  expect_error("--output " + path("none/costs.json"), 1, "none/costs.json: cannot");
  EXPECT_EQ(num_entries(directory_.path()), 1) << "something lies beside the text";
}

}  // namespace
}  // namespace halfback::testing
