#include "halfback/data/byte_text.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>
#include <vector>

// N sequences, T bytes of a sequence.
namespace halfback {
namespace {

// Bytes whose value is their place modulo 251, so that a window shows where it began.
std::string ramp(int num_bytes) {
  std::string text;
  for (int i = 0; i < num_bytes; ++i) {
    text += static_cast<char>(static_cast<unsigned char>(i % 251));
  }
  return text;
}

class ByteTextTest : public testing::Test {
 protected:
  ByteText make(int num_bytes, std::int64_t sequence_length, double fraction, std::uint64_t seed) {
    return ByteText(options(num_bytes, sequence_length, fraction, seed));
  }

  TextOptions options(int num_bytes,
                      std::int64_t sequence_length,
                      double fraction,
                      std::uint64_t seed) {
    const auto path = directory_ / "text";
    spit(path, ramp(num_bytes));
    return {.path = path.string(),
            .sequence_length = sequence_length,
            .validation_fraction = fraction,
            .seed = seed};
  }

  TemporaryDirectory directory_;
};

// Returns the first token of each sequence.
std::vector<std::int64_t> firsts(const MicroBatch& batch) {
  std::vector<std::int64_t> result;
  for (std::int64_t row = 0; row < batch.inputs.front().size(0); ++row) {
    result.push_back(batch.inputs.front()[row][0].item<std::int64_t>());
  }
  return result;
}

TEST_F(ByteTextTest, TargetsAreTheBytesAfterTheInputs) {
  const ByteText text = make(240, 8, 0.1, 1);
  const MicroBatch batch = text.train_batch(0, 5);
  EXPECT_EQ(batch.inputs.front().sizes(), (at::IntArrayRef{5, 8}));
  EXPECT_EQ(batch.inputs.front().scalar_type(), at::kLong);
  EXPECT_EQ(batch.targets.sizes(), (at::IntArrayRef{5, 8}));
  EXPECT_TRUE(batch.targets.equal(batch.inputs.front().add(1)));
}

TEST_F(ByteTextTest, VisitsEachWindowOnceAnEpoch) {
  for (const int num_bytes : {66, 100, 217, 240}) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const ByteText text = make(num_bytes, 8, 0.0, seed);
      const std::int64_t num_windows = text.num_train_samples();
      ASSERT_EQ(num_windows, (num_bytes - 1) / 8 - 1);
      for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
        const auto begins = firsts(text.train_batch(epoch * num_windows, num_windows));
        const std::set<std::int64_t> sorted(begins.begin(), begins.end());
        ASSERT_EQ(static_cast<std::int64_t>(sorted.size()), num_windows);
        ASSERT_EQ(*sorted.rbegin() - *sorted.begin(), 8 * (num_windows - 1));
        ASSERT_LT(*sorted.begin(), 8);
      }
    }
  }
}

TEST_F(ByteTextTest, OrderAndStartDifferByEpochAndSeed) {
  const ByteText text = make(240, 8, 0.0, 1);
  const std::int64_t num_windows = text.num_train_samples();
  std::set<std::vector<std::int64_t>> orders;
  std::set<std::int64_t> starts;
  for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
    const auto begins = firsts(text.train_batch(epoch * num_windows, num_windows));
    orders.insert(begins);
    starts.insert(begins.front() % 8);
  }
  EXPECT_EQ(orders.size(), 20U);
  EXPECT_GT(starts.size(), 4U);
  EXPECT_NE(firsts(text.train_batch(0, 20)), firsts(make(240, 8, 0.0, 2).train_batch(0, 20)));
}

TEST_F(ByteTextTest, ABatchIsItsMicroBatchesOneAfterTheOther) {
  const ByteText text = make(240, 8, 0.1, 3);
  const MicroBatch whole = text.train_batch(20, 24);  // into the next epoch
  for (const std::int64_t size : {1, 2, 3, 4, 6, 12}) {
    std::vector<at::Tensor> inputs;
    std::vector<at::Tensor> targets;
    for (std::int64_t done = 0; done < 24; done += size) {
      const MicroBatch part = text.train_batch(20 + done, size);
      inputs.push_back(part.inputs.front());
      targets.push_back(part.targets);
    }
    EXPECT_TRUE(at::cat(inputs).equal(whole.inputs.front()));
    EXPECT_TRUE(at::cat(targets).equal(whole.targets));
  }
}

TEST_F(ByteTextTest, SplitsTheFileWithoutOverlap) {
  const ByteText text = make(200, 4, 0.25, 0);
  EXPECT_EQ(text.num_validation_samples(), 12);  // (50 - 1) / 4
  const MicroBatch validation = text.validation_batch(0, 12);
  EXPECT_EQ(validation.inputs.front()[0][0].item<std::int64_t>(), 150);
  EXPECT_EQ(validation.targets[11][3].item<std::int64_t>(), 198);
  EXPECT_TRUE(
      text.validation_batch(5, 2).inputs.front().equal(validation.inputs.front().slice(0, 5, 7)));
  for (std::int64_t epoch = 0; epoch < 10; ++epoch) {
    const std::int64_t num_windows = text.num_train_samples();
    const MicroBatch batch = text.train_batch(epoch * num_windows, num_windows);
    EXPECT_LT(batch.targets.max().item<std::int64_t>(), 150);
  }
}

TEST_F(ByteTextTest, WorksWithExactlyOneSequence) {
  const ByteText text = make(9, 8, 0.0, 0);
  EXPECT_EQ(text.num_train_samples(), 1);
  EXPECT_EQ(text.num_validation_samples(), 0);
  EXPECT_EQ(firsts(text.train_batch(0, 3)), (std::vector<std::int64_t>{0, 0, 0}));
}

TEST_F(ByteTextTest, ReadsBytesAbove127) {
  const ByteText text = make(251, 249, 0.0, 0);
  EXPECT_EQ(text.train_batch(0, 1).inputs.front().max().item<std::int64_t>() / 10, 24);
}

TEST_F(ByteTextTest, SaysWhatIsTooShort) {
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { make(8, 8, 0.0, 0); }),
                       "text: 8 of its 8 bytes are for training; one sequence of 8 needs 9; use a "
                       "longer text"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { make(80, 8, 0.1, 0); }),
                       "8 of its 80 bytes are for validation; one sequence of 8 needs 9"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { make(0, 8, 0.1, 0); }),
                       "text: is empty; expected text; use another file"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] {
                         ByteText({.path = (directory_ / "none").string(), .sequence_length = 8});
                       }),
                       "none: cannot open: No such file"));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] {
                         ByteText({.path = directory_.path().string(), .sequence_length = 8});
                       }),
                       "is a directory"));
}

TEST_F(ByteTextTest, RefusesOptionsOutOfRange) {
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { make(100, 0, 0.1, 0); }),
                       "data: sequence length 0; expected at least 1"));
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] { make(100, 8, 1.0, 0); }),
                       "data: validation fraction 1; expected 0 or more and under 1"));
  EXPECT_THROW(make(100, 8, -0.1, 0), ConfigError);
  EXPECT_THROW(make(100, 8, std::numeric_limits<double>::quiet_NaN(), 0), ConfigError);
}

TEST_F(ByteTextTest, ChecksWhatItIsAskedFor) {
  const ByteText text = make(200, 4, 0.25, 0);
  EXPECT_EQ(text.train_batch(7, 0).inputs.front().size(0), 0);
  EXPECT_THROW(text.train_batch(-1, 1), std::logic_error);
  EXPECT_THROW(text.validation_batch(11, 2), std::logic_error);
  EXPECT_THROW(text.validation_batch(13, 0), std::logic_error);
}

}  // namespace
}  // namespace halfback
