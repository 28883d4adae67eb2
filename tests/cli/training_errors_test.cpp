// What train, generate and compare refuse: one line "error: ..." on stderr, and the exit code.
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/training_command.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace halfback::testing {
namespace {

// Checks a command that must fail with one line.
void expect_error(const std::string& arguments, int exit_code, const std::string& text) {
  const CommandResult result = run_halfback(arguments + " 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, exit_code) << arguments;
  EXPECT_EQ(result.output.find("error: "), 0U) << result.output;
  EXPECT_EQ(std::count(result.output.begin(), result.output.end(), '\n'), 1) << result.output;
  EXPECT_TRUE(contains(result.output, text)) << result.output;
}

struct Case {
  const char* arguments;
  const char* text;
};

void expect_usage_errors(const std::string& command, const std::vector<Case>& cases) {
  for (const auto& [arguments, text] : cases) {
    expect_error(command + " " + arguments, 2, text);
  }
}

class TrainErrorTest : public TrainingCommandTest {};

TEST_F(TrainErrorTest, UsageIsRefusedWithTwo) {
  const std::vector<Case> cases = {
      {"--stepz 3", "unknown option 'stepz' of train (did you mean steps?)"},
      {"--schedule 1f1b-11", "unknown family '1f1b-11' (did you mean 1f1b-1?)"},
      {"--two-stage maybe", "--two-stage: 'maybe' is not known; expected on, off"},
      {"--ranks 3", "cut: 2 blocks cannot be spread over 3 stages"},
      {"--schedule 1f1b-2 --micro-batches 3", "micro-batches"},
      {"--heads 3", "model: width 16 over 3 heads gives heads of 5.33333"},
      {"--model lama", "--model is 'lama' (did you mean llama?); known are llama, bert, mamba"},
      {"--model bert --kv-heads 2", "--kv-heads is no size of bert; leave it out"},
      {"--width wide", "model: --width is 'wide'; expected a whole number"},
      {"--steps 0", "--steps is 0; expected 1 or more"},
      {"--learning-rate nan", "--learning-rate is nan; expected 0 or more"},
      {"--timeout 0", "--timeout is 0; expected more than 0 seconds"},
      {"--resume", "--resume needs --checkpoint DIR"},
      {"--keep 0", "--keep is 0; expected 1 or more"},
      {"--device gpu", "--device is gpu; expected cpu, cuda or cuda:K"},
      {"--device cuda:99", "device cuda:99: "},
      {"--precision float8", "--precision: 'float8' is not known"},
      {"--loss-scale 3", "--loss-scale is 3; expected auto, dynamic or a power of two"},
      {"--processes 3", "--processes is 3; expected a number that divides the 2 ranks"},
      {"--processes 0", "--processes is 0; expected a number that divides"},
      {"--max-restarts 1", "--max-restarts and --log-dir are for the processes of --processes P"},
      {"--processes 2 --max-restarts 1", "--max-restarts needs --checkpoint DIR"},
      {"--cost-file costs.json", "--cost-file is for --dry-run"},
  };
  expect_usage_errors(train(""), cases);
  expect_error("train --steps 3", 2, "--data is required");
}

TEST_F(TrainErrorTest, FilesThatDoNotServeAreRefusedWithOne) {
  spit(directory_ / "empty.txt", "");
  spit(directory_ / "short.txt", "0123456789");
  expect_error(train("--data " + path("none.txt")), 1, "none.txt: cannot open: No such file");
  expect_error(train("--data " + path("empty.txt")), 1,
               "empty.txt: is empty; expected text; use another file");
  expect_error(train("--data " + path("short.txt")), 1, "one sequence of 16 needs 17");
  expect_error(train("--report " + path("text.txt/report")), 1,
               "text.txt/report: cannot make the directory: Not a directory");
  expect_error(train("--checkpoint " + path("text.txt")), 1,
               "text.txt: is a file; expected a directory or nothing");
  expect_error(train("--resume --checkpoint " + path("none")), 1,
               "none/checkpoint.json: cannot open");
}

TEST_F(TrainErrorTest, ProcessesInAProcessOfAnotherLauncherAreRefused) {
  const CommandResult result = run_command(
      "RANK=0 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=29500 " HALFBACK_BINARY " " +
      train("--processes 2 2>&1"));
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(contains(result.output, "--processes 2 in a process that torchrun has started; it "))
      << result.output;
}

TEST_F(TrainErrorTest, ADryRunRefusesWhatARunRefuses) {
  output_of(train("--checkpoint " + path("a")));
  expect_error(train("--dry-run --ranks 3"), 2, "cut: 2 blocks cannot be spread over 3 stages");
  expect_error(train("--dry-run --data " + path("none.txt")), 1, "none.txt: cannot open");
  expect_error(train("--dry-run --checkpoint " + path("text.txt")), 1, "text.txt: is a file");
  expect_error(train("--dry-run --resume --hidden 32 --checkpoint " + path("a")), 2,
               "hidden is 24 there and 32 in this run");
  expect_error(train("--dry-run --cost-file " + path("none.json")), 1, "none.json: cannot be read");
}

TEST_F(TrainErrorTest, CheckpointsOfAnotherRunAreRefused) {
  output_of(train("--checkpoint " + path("a")));
  const std::string resume = train("--steps 4 --resume --checkpoint " + path("a") + " ");
  expect_error(resume + "--hidden 32", 2, "hidden is 24 there and 32 in this run; use --hidden 24");
  expect_error(resume + "--seed 2", 2, "the run was with --seed 1, this one has 2");
  expect_error(resume + "--optimizer sgd", 1, "state of optimizer adamw; this run has sgd");
  std::filesystem::remove(directory_ / "a" / "training_state.json");
  expect_error(resume, 1, "training_state.json: cannot open");
}

TEST_F(TrainErrorTest, AFullDiskEndsTheRunAndLeavesNothingHalfWritten) {
  const SmallDisk disk;
  const CommandResult result = run_halfback(
      train("--checkpoint " + (disk.path() / "checkpoint").string()) + " 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(contains(result.output, "\nerror: ")) << result.output;
  EXPECT_TRUE(contains(result.output, "No space left on device; make room")) << result.output;
  EXPECT_EQ(num_entries(disk.path()), 0);
}

TEST_F(TrainErrorTest, ALossThatDivergesEndsTheRun) {
  const CommandResult result = run_halfback(
      train("--warmup 0 --learning-rate 1e30 --checkpoint " + path("a")) + " 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(contains(result.output, "\nerror: training: step 2: loss ")) << result.output;
  EXPECT_FALSE(std::filesystem::exists(directory_ / "a"));
}

class GenerateErrorTest : public TrainingCommandTest {};

TEST_F(GenerateErrorTest, RefusesOptionsAndBrokenCheckpoints) {
  output_of(train("--checkpoint " + path("a")));
  const std::string generate = "generate --checkpoint " + path("a") + " ";
  expect_error("generate", 2, "--checkpoint is required");
  expect_error(generate + "--tokens -1", 2, "--tokens is -1; expected a number from 0");
  expect_error(generate + "--prompts x", 2, "(did you mean prompt?)");
  expect_error(generate + "--device cuda:99", 2, "device cuda:99: ");
  expect_error("generate --checkpoint " + path("none"), 1, "none/config.json: cannot open");
  const std::filesystem::path model = directory_ / "a" / "model.safetensors";
  std::filesystem::resize_file(model, std::filesystem::file_size(model) / 2);
  expect_error(generate, 1, "; the file is torn");
  std::filesystem::remove(directory_ / "a" / "checkpoint.json");
  expect_error(generate, 1, "checkpoint.json: cannot open");
  std::filesystem::remove(directory_ / "a" / "training_state.json");
  expect_error(generate, 1, "model.safetensors: ");
  spit(directory_ / "a" / "config.json", "{}");
  expect_error(generate, 1, "config.json: no \"model_type\"");
}

class CompareErrorTest : public TrainingCommandTest {};

TEST_F(CompareErrorTest, RefusesWhatItCannotCompare) {
  expect_usage_errors("compare",
                      {{"--schedules gpipe,1f1c", "(did you mean 1f1b?)"},
                       {"--rounds 0", "--rounds is 0"},
                       {"--ranks 9 --layers 8", "cut: 8 blocks cannot be spread over 9 stages"},
                       {"--vocabulary 0", "model: --vocabulary is 0"}});
}

}  // namespace
}  // namespace halfback::testing
