#include "halfback/data/token_text.h"

#include "halfback/base/error.h"
#include "halfback/data/byte_text.h"
#include "halfback/data/sentence_piece.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback::testing {
namespace {

class TokenTextTest : public ::testing::Test {
 protected:
  TokenTextTest() { spit(directory_ / "text", text_); }

  TextOptions options(std::int64_t length) const {
    return {.path = (directory_ / "text").string(),
            .sequence_length = length,
            .validation_fraction = 0.25,
            .seed = 3};
  }

  // The text of the tokens of a batch, from its first to its last window.
  std::string text_of(const MicroBatch& batch) const {
    std::string text;
    for (std::int64_t i = 0; i < batch.inputs.front().numel(); ++i) {
      text += tokenizer_->text_of(batch.inputs.front().const_data_ptr<std::int64_t>()[i]);
    }
    return text;
  }

  std::string text_ = tiny_text(4000);
  TokenizerPointer tokenizer_ = train_sentence_piece(text_, 290);
  TemporaryDirectory directory_;
};

TEST_F(TokenTextTest, ValidatesOnTheBytesThatByteTextValidatesOn) {
  const TokenText text(options(5), *tokenizer_);
  EXPECT_EQ(text.identity().num_bytes, 4000);
  const std::string shown = text_of(text.validation_batch(0, text.num_validation_samples()));
  EXPECT_EQ(text_.substr(3000).find(shown), 0U);
  EXPECT_GT(shown.size(), 900U);
}

TEST_F(TokenTextTest, AnEpochIsTheTrainingTextButForItsEnds) {
  const TokenText text(options(5), *tokenizer_);
  const std::int64_t count = text.num_train_samples();
  EXPECT_EQ(
      count,
      (static_cast<std::int64_t>(tokenizer_->encode(text_.substr(0, 3000)).size()) - 1) / 5 - 1);
  std::size_t total = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::string window = text_of(text.train_batch(i, 1));
    EXPECT_NE(text_.substr(0, 3000).find(window), std::string::npos);
    total += window.size();
  }
  EXPECT_GT(total, 2800U);
  EXPECT_LT(total, 3000U);
}

TEST_F(TokenTextTest, OfBytesItIsByteText) {
  const TokenText tokens(options(8), *byte_tokenizer());
  const ByteText bytes(options(8));
  EXPECT_EQ(tokens.num_train_samples(), bytes.num_train_samples());
  EXPECT_EQ(tokens.num_validation_samples(), bytes.num_validation_samples());
  EXPECT_TRUE(tokens.train_batch(300, 200).inputs.front().equal(
      bytes.train_batch(300, 200).inputs.front()));
  EXPECT_TRUE(tokens.train_batch(300, 200).targets.equal(bytes.train_batch(300, 200).targets));
  EXPECT_TRUE(tokens.validation_batch(7, 9).targets.equal(bytes.validation_batch(7, 9).targets));
}

TEST_F(TokenTextTest, TellsHowFarItIs) {
  std::int64_t last = 0;
  const TokenText text(options(5), *tokenizer_, [&](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(total, 4000);
    EXPECT_GT(done, last);
    last = done;
  });
  EXPECT_EQ(last, 4000);
}

TEST_F(TokenTextTest, CountsTokensInWhatIsTooShort) {
  EXPECT_TRUE(
      contains(text_of_thrown<FileError>([&] { TokenText(options(3000), *tokenizer_); }),
               " tokens are for training; one sequence of 3000 needs 3001; use a longer text"));
}

}  // namespace
}  // namespace halfback::testing
