// Processes that do not belong together: all refuse, and name what differs.
#include "tests/support/process_training.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace halfback::testing {
namespace {

class AgreementTest : public ProcessTrainingTest {
 protected:
  // Starts two processes by hand, the second with other options. Both must refuse with this.
  void expect_refusal(const std::string& other, const std::string& text) {
    expect_refusal(command(train(other)), text);
  }

  void expect_refusal(const std::vector<std::string>& other, const std::string& text) {
    ProcessRun run({command(train("")), other});
    for (const int process : {0, 1}) {
      EXPECT_EQ(run[process].wait(), 2) << run[process].text();
      EXPECT_TRUE(contains(run[process].text(), text)) << run[process].text();
    }
    expect_files({"text.txt", "other.txt", "halfback"});
  }
};

TEST_F(AgreementTest, WhatDiffersIsNamed) {
  spit(directory_ / "other.txt", slurp(directory_ / "text.txt") + "One line more.\n");
  expect_refusal("--seed 2", "--seed is not the same in all: 1 in process 0 ");
  expect_refusal("--schedule gpipe", "--schedule is not the same in all: ");
  expect_refusal("--two-stage off", "schedule is not the same in all: 1f1b-1: ");
  expect_refusal("--width 32", "--width is not the same in all: 16 in process 0 ");
  expect_refusal("--learning-rate 0.5", "--learning-rate is not the same in all: ");
  expect_refusal("--data " + path("other.txt"), "the length of --data is not the same in all: ");
}

TEST_F(AgreementTest, AnotherBuildIsRefused) {
  std::filesystem::copy_file(HALFBACK_BINARY, path("halfback"));
  std::ofstream(path("halfback"), std::ios::app) << "a byte that is not read";
  std::vector<std::string> other = command(train(""));
  other.front() = path("halfback");
  expect_refusal(other, "program is not the same in all: halfback ");
}

}  // namespace
}  // namespace halfback::testing
