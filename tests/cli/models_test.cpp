// Every model through train, compare and generate, as somebody new to them would.
#include "tests/support/child_process.h"
#include "tests/support/errors.h"
#include "tests/support/idx_files.h"
#include "tests/support/training_command.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <iterator>
#include <ostream>
#include <sstream>

namespace halfback::testing {
namespace {

struct Case {
  const char* name;
  const char* data;
  const char* sizes;
  const char* described;
};

void PrintTo(const Case& one, std::ostream* out) { *out << one.name; }

const Case kCases[] = {
    {"llama", "text.txt", "--layers 4 --width 16 --heads 2 --hidden 24 --sequence 16",
     "model: llama: layers 4, width 16, heads 2, hidden 24, sequence 16; "},
    {"bert", "text.txt", "--layers 4 --width 16 --heads 2 --hidden 24 --sequence 16",
     "model: bert: layers 4, width 16, heads 2, hidden 24, sequence 16; "},
    {"mamba", "text.txt", "--layers 4 --width 16 --sequence 16",
     "model: mamba: layers 4, width 16, sequence 16; "},
    {"mlp", "images", "--width 16 --inputs 256 --classes 5",
     "model: mlp: layers 4, width 16, classes 5; "},
    {"resnet", "images", "--width 4 --image-height 16 --image-width 16 --classes 5",
     "model: resnet: depth 18, width 4, classes 5; "}};

class ModelTest : public TrainingCommandTest, public ::testing::WithParamInterface<Case> {
 protected:
  ModelTest() { write_idx_images(directory_ / "images", 16, 5); }

  // "train" of the model over 4 micro-batches, with further arguments.
  std::string train(const std::string& arguments) const {
    const Case& model = GetParam();
    return "train --data " + path(model.data) + " --micro-batches 4 --micro-batch-size 4" +
           " --schedule 1f1b --warmup 2 --evaluate-every 3 --evaluate-samples 0 --threads 1 " +
           arguments;
  }
  static std::string sizes() {
    return std::string(" --model ") + GetParam().name + " " + GetParam().sizes + " ";
  }
};

TEST_P(ModelTest, TrainsTheSameOverEveryCutAndGoesOnWithoutItsSizes) {
  const std::string text =
      output_of(train(sizes() + "--steps 6 --ranks 2 --checkpoint " + path("straight")));
  EXPECT_TRUE(contains(text, GetParam().described)) << text;
  EXPECT_TRUE(contains(text, "\nloss: ")) << text;
  EXPECT_TRUE(contains(text, ", validation ")) << text;
  EXPECT_TRUE(contains(text, ", accuracy ")) << text;
  EXPECT_EQ(contains(text, " bits per byte"), GetParam().data == std::string("text.txt")) << text;
  EXPECT_TRUE(contains(text, GetParam().data == std::string("images") ? " images/s" : " tokens/s"));

  std::istringstream words(train(sizes() + "--steps 6 --ranks 4 --checkpoint " + path("cut")));
  ChildProcess process({std::istream_iterator<std::string>(words), {}});
  ASSERT_TRUE(process.wait_for_output());
  process.send(SIGINT);
  process.wait();
  output_of(train("--steps 6 --ranks 1 --two-stage off --resume --checkpoint " + path("cut")));
  EXPECT_TRUE(model_bytes("cut") == model_bytes("straight"));
}

// The columns of a table of ranks that a prediction and a measured run have in common.
std::vector<std::string> memory_of_ranks(const std::string& text) {
  std::vector<std::string> rows;
  std::istringstream lines(text.substr(text.find("\nrank  parameters")));
  std::string line;
  while (std::getline(lines, line) && (rows.size() < 2 || line.starts_with(" "))) {
    constexpr std::size_t kColumns = 4 + 4 * 12;
    rows.push_back(line.substr(0, kColumns));
  }
  return rows;
}

TEST_P(ModelTest, ADryRunPredictsTheMemoryOfTheRun) {
  const std::string run = train(sizes() + "--steps 1 --ranks 2 --checkpoint " + path("a"));
  const std::string predicted = output_of(run + " --dry-run");
  EXPECT_TRUE(contains(predicted, GetParam().described)) << predicted;
  EXPECT_TRUE(contains(predicted, "\nrank process  stages  blocks  parameters\n")) << predicted;
  EXPECT_TRUE(contains(predicted, "\nstep: ")) << predicted;
  EXPECT_TRUE(contains(predicted, "\nsimulated, from times of actions measured here")) << predicted;
  EXPECT_FALSE(std::filesystem::exists(path("a"))) << "a dry run leaves nothing";
  const std::vector<std::string> rows = memory_of_ranks(predicted);
  EXPECT_EQ(rows.size(), 4U) << predicted;
  EXPECT_EQ(rows, memory_of_ranks(output_of(run)));
}

TEST_P(ModelTest, WrittenOptionsGiveTheSameRun) {
  output_of(train(sizes() + "--steps 3 --ranks 2 --report " + path("report") + " --checkpoint " +
                  path("a")));
  output_of("train --config " + path("report/config.toml") + " --report " + path("again") +
            " --checkpoint " + path("b"));
  EXPECT_TRUE(model_bytes("a") == model_bytes("b"));
  std::istringstream lines(slurp(directory_ / "report" / "metrics.jsonl"));
  nlohmann::json last;
  for (std::string line; std::getline(lines, line);) {
    last = nlohmann::json::parse(line);
  }
  EXPECT_GE(last.at("validation_accuracy"), 0.0);
  EXPECT_EQ(last.contains("validation_bits_per_byte"), GetParam().data == std::string("text.txt"));
}

TEST_P(ModelTest, ComparesToTheBit) {
  const auto rows = nlohmann::json::parse(output_of(
      "compare --schedules 1f1b-1 --ranks 2 --rounds 1 --warmup-rounds 0 --threads 1 --json"
      " --micro-batch-size 2" +
      sizes()));
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows.at(1).at("bit_equal"), true);
  EXPECT_EQ(rows.at(1).at("activation_bytes"), rows.at(1).at("predicted_activation_bytes"));
}

INSTANTIATE_TEST_SUITE_P(All, ModelTest, ::testing::ValuesIn(kCases), [](const auto& one) {
  return std::string(one.param.name);
});

class ViewsTest : public TrainingCommandTest {
 protected:
  ViewsTest() { write_idx_images(directory_ / "images", 16, 5); }

  // "train" of an mlp on the images, with further arguments.
  std::string train(const std::string& arguments) const {
    return "train --model mlp --width 16 --inputs 256 --classes 5 --data " + path("images") +
           " --micro-batches 4 --micro-batch-size 4 --warmup 2 --threads 1 " + arguments;
  }
};

// Without labels, then a classifier alone on what that has learned.
TEST_F(ViewsTest, TrainsWithoutLabelsAndThenAClassifierOnTop) {
  const std::string views = train(
      "--local-loss infonce --augment crop,jitter --projection 8 "
      "--scheme greedy --ranks 2 --clip 0 --steps 6 --evaluate-every 3 ");
  const std::string run = views + "--checkpoint " + path("views") + " --report " + path("report");
  const std::string predicted = output_of(run + " --dry-run");
  const std::string text = output_of(run);
  EXPECT_TRUE(contains(text, ", views matched ")) << text;
  EXPECT_FALSE(contains(text, "accuracy")) << text;
  EXPECT_EQ(memory_of_ranks(predicted), memory_of_ranks(text));
  output_of("train --config " + path("report/config.toml") + " --report " + path("again") +
            " --checkpoint " + path("b"));
  EXPECT_TRUE(model_bytes("b") == model_bytes("views"));
  const std::string on_top =
      "train --initial " + path("views") + " --data " + path("images") +
      " --losses 0:none --ranks 1 --schedule gpipe --steps 60 --learning-rate 0.01"
      " --clip 0 --evaluate-every 60 --micro-batch-size 16 --threads 1 --checkpoint " +
      path("probe");
  const std::string predicted_probe = output_of(on_top + " --dry-run");
  const std::string probe = output_of(on_top);
  EXPECT_EQ(memory_of_ranks(predicted_probe), memory_of_ranks(probe));
  const auto place = probe.find(", accuracy ");
  ASSERT_NE(place, std::string::npos) << probe;
  EXPECT_GT(std::stod(probe.substr(place + 11)), 40.0) << probe;
}

TEST_F(ViewsTest, ReplicasAndProcessesHaveTheSameBits) {
  const auto norms_of = [&](const std::string& arguments) {
    output_of(train("--local-loss infonce --schedule 1f1b --steps 4 --evaluate-every 0 --report " +
                    path("report") + " --ranks 2 " + arguments));
    std::vector<nlohmann::json> norms;
    std::istringstream lines(slurp(directory_ / "report" / "metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      norms.push_back(nlohmann::json::parse(line).at("gradient_norm"));
    }
    EXPECT_EQ(norms.size(), 4U);
    return norms;
  };
  const auto expected = norms_of("--gradient-groups 2 --checkpoint " + path("one"));
  EXPECT_EQ(norms_of("--data-parallel 2 --micro-batches 2 --checkpoint " + path("two")), expected);
  EXPECT_TRUE(model_bytes("one") == model_bytes("two"));
  EXPECT_EQ(norms_of("--gradient-groups 2 --processes 2"), expected);
}

TEST_F(ViewsTest, AugmentsImagesWithLabelsToo) {
  const std::string plain = train("--schedule 1f1b --ranks 2 --steps 3 --checkpoint ");
  output_of(plain + path("a"));
  output_of(plain + path("b") + " --augment none");
  output_of(plain + path("c") + " --augment flip,crop");
  EXPECT_TRUE(model_bytes("a") == model_bytes("b"));
  EXPECT_FALSE(model_bytes("a") == model_bytes("c"));
}

TEST_F(ViewsTest, ComparesToTheBit) {
  for (const char* schedule : {"1f1b", "local-greedy"}) {
    const auto rows = nlohmann::json::parse(output_of(
        "compare --ranks 2 --rounds 1 --warmup-rounds 0 --threads 1 --json --micro-batch-size 3"
        " --model mlp --width 16 --clip-scope stage --local-loss infonce --schedules " +
        std::string(schedule)));
    ASSERT_EQ(rows.size(), 2U);
    EXPECT_EQ(rows.at(1).at("bit_equal"), true);
    EXPECT_EQ(rows.at(1).at("activation_bytes"), rows.at(1).at("predicted_activation_bytes"));
  }
}

class ImageErrorTest : public TrainingCommandTest {
 protected:
  ImageErrorTest() { write_idx_images(directory_ / "images", 16, 5); }

  static std::string refusal(const std::string& arguments, int exit_code) {
    const CommandResult result = run_halfback("train --ranks 2 " + arguments + " 2>&1 >/dev/null");
    EXPECT_EQ(result.exit_code, exit_code) << arguments;
    EXPECT_EQ(result.output.find("error: "), 0U) << result.output;
    return result.output;
  }
};

TEST_F(ImageErrorTest, SaysWhichSizesTheImagesNeed) {
  std::string text = refusal("--model mlp --data " + path("images"), 2);
  EXPECT_TRUE(contains(text, "use --inputs 256 --classes 5")) << text;
  text = refusal("--model resnet --data " + path("images"), 2);
  EXPECT_TRUE(contains(text, "--image-channels 1 --image-height 16 --image-width 16 --classes 5"))
      << text;
}

TEST_F(ImageErrorTest, SaysWhatDataAModelTakes) {
  EXPECT_TRUE(contains(refusal("--model resnet --data " + path("text.txt"), 1),
                       "text.txt: is a file; expected a directory of images"));
  EXPECT_TRUE(
      contains(refusal("--model llama --data " + path("images"), 1), "images: is a directory"));
  EXPECT_TRUE(contains(refusal("--model mlp --tokenizer sentencepiece --data " + path("images"), 2),
                       "--tokenizer: mlp takes images; leave it out"));
  EXPECT_TRUE(contains(refusal("--local-loss infonce --data " + path("text.txt"), 2),
                       "local loss: infonce compares views of images, not tokens; expected pred"));
  EXPECT_TRUE(contains(refusal("--augment flip --data " + path("text.txt"), 2),
                       "--augment flip changes images, and llama reads text; leave it out"));
  EXPECT_TRUE(contains(refusal("--temperature 1 --data " + path("text.txt"), 2),
                       "--temperature is for --local-loss infonce; leave it out"));
  EXPECT_TRUE(contains(refusal("--model resnet --sequence 8 --data " + path("images"), 2),
                       "--sequence is not a size of resnet"));
}

}  // namespace
}  // namespace halfback::testing
