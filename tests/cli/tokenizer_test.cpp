// train --tokenizer through the real binary, and generate from what it leaves.
#include "tests/support/errors.h"
#include "tests/support/training_command.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace halfback::testing {
namespace {

class TokenizerTest : public TrainingCommandTest {
 protected:
  std::string learned(const std::string& arguments) const {
    return train("--tokenizer sentencepiece --vocabulary 300 --evaluate-every 2 " + arguments);
  }
  std::int64_t vocabulary_of(const std::string& checkpoint) const {
    return nlohmann::json::parse(slurp(directory_ / checkpoint / "config.json")).at("vocab_size");
  }
};

TEST_F(TokenizerTest, IsLearnedKeptAndUsed) {
  const std::string text =
      output_of(learned("--checkpoint " + path("a") + " --report " + path("report")));
  EXPECT_TRUE(contains(text, "\ntokenizer: 300 pieces\n")) << text;
  EXPECT_TRUE(contains(text, " bits per byte, accuracy ")) << text;
  EXPECT_EQ(vocabulary_of("a"), 300);
  const std::string model = slurp(directory_ / "a" / "tokenizer.model");
  EXPECT_FALSE(model.empty());

  output_of("train --config " + path("report/config.toml") + " --checkpoint " + path("again"));
  EXPECT_TRUE(model_bytes("again") == model_bytes("a"));
  output_of(learned("--steps 5 --resume --ranks 1 --micro-batch-size 2 --checkpoint " + path("a")));
  EXPECT_TRUE(slurp(directory_ / "a" / "tokenizer.model") == model);
  output_of("train --ranks 1 --steps 6 --resume --data " + path("text.txt") + " --checkpoint " +
            path("a"));
  EXPECT_EQ(vocabulary_of("a"), 300);
  output_of("train --ranks 1 --steps 1 --data " + path("text.txt") + " --initial " + path("a") +
            " --checkpoint " + path("child"));
  EXPECT_TRUE(slurp(directory_ / "child" / "tokenizer.model") == model);

  const std::string generate = "generate --checkpoint " + path("a") + " --tokens 20 --prompt ";
  EXPECT_EQ(output_of(generate + "'And the'").substr(0, 7), "And the");
  EXPECT_EQ(output_of(generate + "'And the'"), output_of(generate + "'And the'"));
}

TEST_F(TokenizerTest, AFileIsTakenAndTheVocabularyFollows) {
  output_of(learned("--checkpoint " + path("a")));
  output_of(train("--evaluate-every 2 --tokenizer " + path("a/tokenizer.model") + " --checkpoint " +
                  path("b")));
  EXPECT_TRUE(model_bytes("a") == model_bytes("b"));
  EXPECT_EQ(vocabulary_of("b"), 300);
  output_of(
      "train --model bert --layers 2 --width 16 --heads 2 --hidden 24 --sequence 16 --ranks 2"
      " --steps 2 --threads 1 --data " +
      path("text.txt") + " --tokenizer " + path("a/tokenizer.model") + " --checkpoint " +
      path("bert"));
  EXPECT_EQ(vocabulary_of("bert"), 301) << "the pieces and the mask";
}

TEST_F(TokenizerTest, RefusesWhatDoesNotFit) {
  output_of(learned("--checkpoint " + path("a")));
  const auto expect_error = [](const std::string& arguments, int exit_code,
                               const std::string& text) {
    const CommandResult result = run_halfback(arguments + " 2>&1 >/dev/null");
    EXPECT_EQ(result.exit_code, exit_code) << arguments;
    EXPECT_TRUE(contains(result.output, "error: ")) << result.output;
    EXPECT_TRUE(contains(result.output, text)) << result.output;
  };
  const std::string file = " --tokenizer " + path("a/tokenizer.model");
  expect_error(train("--tokenizer sentencepeice"), 2,
               "is not a file (did you mean sentencepiece?)");
  expect_error(train("--tokenizer " + path("text.txt")), 1, "text.txt: ");
  expect_error(train("--tokenizer " + path("")), 1,
               "holds no tokenizer; expected a tokenizer.json");
  expect_error(train("--vocabulary 299" + file), 2,
               "vocabulary 299 is too small for a tokenizer of 300 pieces; use --vocabulary 300");
  expect_error(train("--tokenizer sentencepiece --vocabulary 100"), 2, "a vocabulary of 100");
  expect_error(train("--tokenizer sentencepiece"), 2, "the text gives no vocabulary of 4096");
  expect_error(
      train("--resume --tokenizer bytes --steps 4 --vocabulary 300 --checkpoint " + path("a")), 2,
      "checkpoint of another tokenizer: 300 pieces there and bytes in this run");
  output_of(train("--checkpoint " + path("bytes")));
  expect_error(train("--resume --tokenizer sentencepiece --checkpoint " + path("bytes")), 2,
               "--tokenizer sentencepiece learns a new tokenizer, and " + path("bytes") +
                   " has its own (bytes); expected the same tokens");
}

}  // namespace
}  // namespace halfback::testing
