// A tiny training run through the real binary.
#pragma once

#include "tests/support/command.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

namespace halfback::testing {

class TrainingCommandTest : public ::testing::Test {
 protected:
  TrainingCommandTest() {
    std::string text;
    for (int i = 0; i < 60; ++i) {
      text += "And the " + std::to_string(i * i * i % 97) + " waters were upon the earth.\n";
    }
    spit(directory_ / "text.txt", text);
  }

  // Returns the path in the test's directory; fit for a shell.
  std::string path(const std::string& name) const { return (directory_ / name).string(); }

  // Returns "train" with a model of 2 blocks and further arguments.
  std::string train(const std::string& arguments) const {
    return "train --data " + path("text.txt") +
           " --layers 2 --width 16 --heads 2 --hidden 24 --sequence 16 --micro-batch-size 1"
           " --warmup 2 --evaluate-every 0 --threads 1 --ranks 2 --steps 3 " +
           arguments;
  }

  std::string model_bytes(const std::string& checkpoint) const {
    return slurp(directory_ / checkpoint / "model.safetensors");
  }

  TemporaryDirectory directory_;
};

// Runs a command that must succeed; returns its stdout.
inline std::string output_of(const std::string& arguments) {
  const CommandResult result = run_halfback(arguments + " 2>/dev/null");
  EXPECT_EQ(result.exit_code, 0) << arguments << "\n"
                                 << run_halfback(arguments + " 2>&1 >/dev/null").output;
  return result.output;
}

}  // namespace halfback::testing
