#include "halfback/train/progress.h"

#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <limits>

namespace halfback {
namespace {

const ProgressState kState = {.step = 120,
                              .num_steps = 500,
                              .loss = 2.3449,
                              .items_per_second = 34'100.0,
                              .eta_seconds = 41.0};

TEST(ProgressTest, FormatsDurations) {
  EXPECT_EQ(format_duration(0.0), "0:00");
  EXPECT_EQ(format_duration(41.4), "0:41");
  EXPECT_EQ(format_duration(59.6), "1:00");
  EXPECT_EQ(format_duration(723.0), "12:03");
  EXPECT_EQ(format_duration(3723.0), "1:02:03");
  EXPECT_EQ(format_duration(2 * 86400.0 + 3723.0), "2d 01:02:03");
  EXPECT_EQ(format_duration(-1.0), "0:00");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "0:00");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "11574d 01:46:40");
}

TEST(ProgressTest, FormatsCountsWithThreeDigits) {
  EXPECT_EQ(format_count(0.0), "0");
  EXPECT_EQ(format_count(987.0), "987");
  EXPECT_EQ(format_count(999.6), "1.00k");
  EXPECT_EQ(format_count(34'123.0), "34.1k");
  EXPECT_EQ(format_count(999'499.0), "999k");
  EXPECT_EQ(format_count(1'204'000.0), "1.20M");
  EXPECT_EQ(format_count(5e15), "5000T");
}

TEST(ProgressTest, FormatsALine) {
  EXPECT_EQ(format_progress_line(kState), "step 120/500 loss 2.345 34.1k tokens/s ETA 0:41");
  EXPECT_EQ(format_progress_line({.step = 0, .num_steps = 5, .loss = 1.0, .eta_seconds = {}}),
            "step 0/5 loss 1.000");
}

TEST(ProgressTest, FormatsABarThatFits) {
  const std::string line = format_progress_line(kState);
  EXPECT_EQ(format_progress_bar(kState, 60), "[##--------] " + line);
  EXPECT_EQ(format_progress_bar(kState, 80).substr(0, 31), "[#######-----------------------");
  EXPECT_EQ(format_progress_bar(kState, 80).size(), 80U);
  EXPECT_EQ(format_progress_bar(kState, 500), "[#########" + std::string(31, '-') + "] " + line);
  EXPECT_EQ(format_progress_bar(kState, 20), "[##--------] step 12");
  EXPECT_EQ(format_progress_bar(kState, 0), "");
}

TEST(ProgressTest, TheBarIsEmptyAtTheStartAndFullAtTheEnd) {
  ProgressState state = {.step = 0, .num_steps = 4, .loss = 1.0, .eta_seconds = {}};
  EXPECT_EQ(format_progress_bar(state, 32), "[----------] step 0/4 loss 1.000");
  state.step = 4;
  EXPECT_EQ(format_progress_bar(state, 32), "[##########] step 4/4 loss 1.000");
  state.step = 9;
  EXPECT_EQ(format_progress_bar(state, 32), "[##########] step 9/4 loss 1.000");
  state.num_steps = 0;
  EXPECT_EQ(format_progress_bar(state, 32), "[----------] step 9/0 loss 1.000");
}

TEST(ProgressTest, WritesPlainLinesToAFile) {
  const TemporaryDirectory directory;
  std::FILE* stream = std::fopen((directory / "log").c_str(), "w");
  ASSERT_NE(stream, nullptr);
  {
    Progress progress(stream, /*num_steps=*/25, /*first_step=*/0, "images", /*line_every=*/10);
    for (std::int64_t step = 1; step <= 25; ++step) {
      progress.update(step, 2.0, 100);
    }
  }
  std::fclose(stream);
  const std::string text = slurp(directory / "log");
  EXPECT_EQ(text.rfind("step 1/25 loss 2.000", 0), 0U);
  EXPECT_TRUE(contains(text, "\nstep 11/25 loss 2.000"));
  EXPECT_TRUE(contains(text, "\nstep 25/25 loss 2.000"));
  EXPECT_FALSE(contains(text, "\r"));
  EXPECT_EQ(text.back(), '\n');
}

}  // namespace
}  // namespace halfback
