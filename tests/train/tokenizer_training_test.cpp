// Training runs on the pieces of a SentencePiece model, and text generated from them.
#include "halfback/base/error.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/data/sentence_piece.h"
#include "halfback/train/generation.h"
#include "halfback/train/training.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

namespace halfback::testing {
namespace {

class TokenizerTrainingTest : public ::testing::Test {
 protected:
  TokenizerTrainingTest() { spit(data_, tiny_text()); }

  TrainingConfig config(const std::string& checkpoint, const TinySchedule& schedule = {}) const {
    TrainingConfig made = tiny_training(data_, schedule);
    made.tokenizer = tokenizer_;
    std::get<LlamaConfig>(made.model).vocabulary = 290;
    if (!checkpoint.empty()) {
      made.checkpoint = directory_ / checkpoint;
    }
    return made;
  }

  std::string model_bytes(const std::string& checkpoint) const {
    return slurp(directory_ / checkpoint / "model.safetensors");
  }

  // The last report of a run with validation.
  static StepReport validated(TrainingConfig config) {
    config.evaluate_every = config.num_steps;
    StepReport last;
    Training(config).run([&](const StepReport& report) { last = report; },
                         std::atomic<bool>{false});
    return last;
  }

  static std::string refusal(const TrainingConfig& config) {
    return text_of_thrown<Error>([&] { const Training training(config); });
  }

  TemporaryDirectory directory_;
  std::filesystem::path data_ = directory_ / "text.txt";
  TokenizerPointer tokenizer_ = train_sentence_piece(tiny_text(), 290);
};

TEST_F(TokenizerTrainingTest, ResumesToTheBitOnAnotherNumberOfStages) {
  const std::vector<double> straight = losses_of(config("straight"));
  EXPECT_NEAR(straight.front(), std::log(290.0), 0.2);
  EXPECT_TRUE(slurp(directory_ / "straight" / "tokenizer.model") == tokenizer_->identity());
  std::vector<double> losses = losses_of(config("half", {.name = "gpipe", .num_ranks = 4}), 3);
  TrainingConfig second = config("half", {.num_ranks = 1, .two_stage = false});
  second.tokenizer = load_tokenizer(directory_ / "half");
  second.resumes_from = find_resume_point(second.checkpoint);
  for (const double loss : losses_of(second)) {
    losses.push_back(loss);
  }
  EXPECT_EQ(losses, straight);
  EXPECT_TRUE(model_bytes("half") == model_bytes("straight"));
  EXPECT_TRUE(slurp(directory_ / "half" / "tokenizer.model") == tokenizer_->identity());
}

TEST_F(TokenizerTrainingTest, ACheckpointOfBytesHasNoTokenizer) {
  TrainingConfig bytes = tiny_training(data_);
  bytes.checkpoint = directory_ / "bytes";
  losses_of(bytes, 1);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "bytes" / "tokenizer.model"));
  EXPECT_EQ(load_tokenizer(directory_ / "bytes"), byte_tokenizer());
}

TEST_F(TokenizerTrainingTest, BitsPerByteCountTheBytesThatWereTold) {
  const StepReport bytes = validated(tiny_training(data_));
  EXPECT_DOUBLE_EQ(bytes.bits_per_byte.value(), bytes.validation->loss / std::numbers::ln2);

  TrainingConfig pieces = config("");
  pieces.evaluate_samples = 1 << 20;
  const StepReport report = validated(pieces);
  const std::string text = tiny_text().substr(2700);
  const std::vector<std::int32_t> tokens = tokenizer_->encode(text);
  const std::size_t count = (tokens.size() - 1) / 8 * 8;
  std::size_t num_bytes = 0;
  for (std::size_t i = 1; i <= count; ++i) {
    num_bytes += tokenizer_->text_of(tokens[i]).size();
  }
  EXPECT_GT(2 * num_bytes, 3 * count);
  EXPECT_DOUBLE_EQ(report.bits_per_byte.value(), report.validation->loss / std::numbers::ln2 *
                                                     static_cast<double>(count) /
                                                     static_cast<double>(num_bytes));
}

TEST_F(TokenizerTrainingTest, BertMasksPieces) {
  TrainingConfig bert = config("");
  bert.model = BertConfig{
      .num_layers = 4, .width = 16, .num_heads = 4, .hidden = 24, .sequence = 8, .vocabulary = 291};
  const StepReport report = validated(bert);
  EXPECT_NEAR(report.validation->loss, std::log(291.0), 1.5);
  EXPECT_LT(report.bits_per_byte.value(), report.validation->loss / std::numbers::ln2);
  std::get<BertConfig>(bert.model).vocabulary = 290;
  EXPECT_EQ(refusal(bert),
            "model: vocabulary 290 is too small for a tokenizer of 290 pieces and the mask; use "
            "--vocabulary 291");
}

TEST_F(TokenizerTrainingTest, TheVocabularyMayBePaddedButNotCut) {
  TrainingConfig padded = config("padded");
  std::get<LlamaConfig>(padded.model).vocabulary = 320;
  EXPECT_EQ(losses_of(padded).size(), 6U);
  std::get<LlamaConfig>(padded.model).vocabulary = 289;
  EXPECT_EQ(refusal(padded),
            "model: vocabulary 289 is too small for a tokenizer of 290 pieces; use --vocabulary "
            "290");
}

TEST_F(TokenizerTrainingTest, RefusesACheckpointOfAnotherTokenizer) {
  losses_of(config("a"), 1);
  TrainingConfig other = config("a");
  other.resumes_from = find_resume_point(other.checkpoint);
  other.tokenizer = train_sentence_piece(tiny_text(2000), 290);
  EXPECT_TRUE(contains(refusal(other),
                       "a: checkpoint of another tokenizer: 290 pieces there and 290 pieces in "
                       "this run; leave out --tokenizer"));
  other.tokenizer = byte_tokenizer();
  EXPECT_TRUE(contains(refusal(other), "290 pieces there and bytes in this run"));
  other.resumes_from = {};
  other.initial = directory_ / "a";
  EXPECT_TRUE(contains(refusal(other), "290 pieces there and bytes in this run"));
  spit(directory_ / "a" / "tokenizer.model", "damaged");
  EXPECT_TRUE(contains(refusal(other), "tokenizer.model: "));
}

TEST_F(TokenizerTrainingTest, GeneratesTheTextOfItsPieces) {
  TrainingConfig padded = config("padded");
  std::get<LlamaConfig>(padded.model).vocabulary = 300;
  losses_of(padded);
  const auto text_of = [&](std::uint64_t seed) {
    std::vector<std::string> parts;
    generate({.checkpoint = directory_ / "padded",
              .prompt = "the light ",
              .num_tokens = 50,
              .temperature = 2.0,
              .top_k = 0,
              .seed = seed},
             [&](std::string_view part) {
               parts.emplace_back(part);
               return true;
             });
    return parts;
  };
  const std::vector<std::string> parts = text_of(1);
  EXPECT_EQ(parts.size(), 51U) << "one for each token, and the row of bytes at the end";
  EXPECT_EQ(text_of(1), parts);
  EXPECT_NE(text_of(2), parts);
  EXPECT_TRUE(std::any_of(parts.begin(), parts.end(),
                          [](const std::string& part) { return part.size() > 1; }));
  std::filesystem::remove(directory_ / "padded" / "tokenizer.model");
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { text_of(1); }),
                       "padded/tokenizer.model: cannot open"));
  for (const char* ours : {"checkpoint.json", "training_state.json"}) {
    std::filesystem::remove(directory_ / "padded" / ours);
  }
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { text_of(1); }),
               "padded: vocabulary 300; expected 256, a byte-level model, or a tokenizer's file "
               "beside it"));
}

}  // namespace
}  // namespace halfback::testing
