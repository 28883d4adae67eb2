// What train, generate and compare refuse: one line "error: ..." on stderr, and the exit code. What
// train refuses whoever starts it, is in tests/processes/bad_inputs_test.cpp.
#include "halfback/base/error.h"
#include "halfback/schedule/families.h"
#include "halfback/train/training.h"
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

TEST_F(TrainErrorTest, OptionsOfProcessesAreRefused) {
  expect_usage_errors(
      train(""),
      {{"--processes 3", "--processes is 3; expected a number that divides the 2 ranks"},
       {"--processes 0", "--processes is 0; expected a number that divides"},
       {"--max-restarts 1", "--max-restarts and --log-dir are for the processes of --processes P"},
       {"--processes 2 --max-restarts 1", "--max-restarts needs --checkpoint DIR"},
       {"--processes 2 --max-restarts -1", "--max-restarts is -1; expected 0 or more"}});
  expect_error("train --steps 3", 2, "--data is required");
  expect_error(train("--resume --checkpoint a --initial b"), 2,
               "--resume and --initial are both given; a run resumes or starts from weights");
  for (const std::string option : {"--checkpoint", "--initial", "--report"}) {
    expect_error(train(option + " ''"), 2, option + ": is empty; expected a path");
  }
  expect_error(
      train("--processes 2 --log-dir " + path("text.txt/logs")), 1,
      "text.txt/logs: cannot make the directory: Not a directory; choose another --log-dir");
}

// A program that uses the library is refused as the command line is.
TEST_F(TrainErrorTest, TheLibraryRefusesWhatTheCommandLineRefuses) {
  struct Refused {
    const char* arguments;
    void (*set)(TrainingConfig& config);
  };
  const std::vector<Refused> all = {
      {"--beta1 2", [](auto& c) { c.pipeline.stage.optimizer.beta1 = 2.0; }},
      {"--beta2 -0.5", [](auto& c) { c.pipeline.stage.optimizer.beta2 = -0.5; }},
      {"--momentum 1", [](auto& c) { c.pipeline.stage.optimizer.momentum = 1.0; }},
      {"--nesterov", [](auto& c) { c.pipeline.stage.optimizer.is_nesterov = true; }},
      {"--sparsity 1", [](auto& c) { c.pruning.sparsity = 1.0; }},
      {"--sparsity 0.5 --prune random --prune-samples 8",
       [](auto& c) {
         c.pruning = {.sparsity = 0.5, .method = PruneMethod::Random, .num_samples = 8};
       }},
      {"--sparsity -0.1", [](auto& c) { c.pruning.sparsity = -0.1; }},
      {"--decay-steps -1", [](auto& c) { c.learning_rate.decay_steps = -1; }},
      {"--epsilon 0", [](auto& c) { c.pipeline.stage.optimizer.epsilon = 0.0; }},
      {"--weight-decay -1", [](auto& c) { c.pipeline.stage.optimizer.weight_decay = -1.0; }},
      {"--clip -1", [](auto& c) { c.pipeline.update.clip_norm = -1.0; }},
      {"--loss-scale 3", [](auto& c) { c.pipeline.update.loss_scale.initial = 3.0; }},
      {"--threads -1", [](auto& c) { c.pipeline.threads_per_rank = -1; }},
      {"--timeout 0", [](auto& c) { c.pipeline.timeout_seconds = 0.0; }},
      {"--gradient-groups 3", [](auto& c) { c.pipeline.gradient_groups = 3; }},
      {"--learning-rate -1", [](auto& c) { c.learning_rate.peak = -1.0; }},
      {"--learning-rate-floor -1", [](auto& c) { c.learning_rate.floor_fraction = -1.0; }},
      {"--warmup -1", [](auto& c) { c.learning_rate.warmup_steps = -1; }},
      {"--steps 0", [](auto& c) { c.num_steps = 0; }},
      {"--micro-batch-size 0", [](auto& c) { c.micro_batch_size = 0; }},
      {"--evaluate-every -1", [](auto& c) { c.evaluate_every = -1; }},
      {"--evaluate-samples -1", [](auto& c) { c.evaluate_samples = -1; }},
      {"--checkpoint-every -1", [](auto& c) { c.checkpoint_every = -1; }},
      {"--keep 0", [](auto& c) { c.keep = 0; }},
      {"--projection 8", [](auto& c) { c.projection = 8; }},
      {"--local-loss infonce --projection 0",
       [](auto& c) {
         c.local_loss = LocalLoss::InfoNce;
         c.projection = 0;
       }},
      {"--local-loss infonce --temperature -1",
       [](auto& c) {
         c.local_loss = LocalLoss::InfoNce;
         c.temperature = -1.0;
       }},
      {"--local-loss infonce --micro-batch-size 1",
       [](auto& c) {
         c.local_loss = LocalLoss::InfoNce;
         c.micro_batch_size = 1;
       }},
      {"--local-head mlp-1", [](auto& c) { c.local_head = LocalHead::Mlp1; }},
      {"--local-loss sim", [](auto& c) { c.local_loss = LocalLoss::Sim; }},
      {"--new-head", [](auto& c) { c.has_new_head = true; }}};
  for (const auto& [arguments, set] : all) {
    TrainingConfig config;
    config.schedule =
        make_runnable(build_schedule("1f1b-1", {.num_ranks = 2, .num_micro_batches = 2}));
    set(config);
    expect_error(train(arguments), 2, text_of_thrown<ConfigError>([&] { check(config); }));
    EXPECT_THROW(Training{config}, ConfigError) << arguments;
  }
  expect_error(train("--schedule local-greedy --ranks 2"), 2,
               "schedule: its lists update stages (U) before the gradient norm of the whole model");
  expect_error(train("--local-head liner"), 2,
               "local head: 'liner' is not known (did you mean linear?)");
  expect_error(train("--schedule local-greedy --ranks 2 --clip 0 --local-head cnn"), 2,
               "local head: cnn predicts classes, not tokens; expected linear or shared");
  expect_error(train("--head-refresh 5"), 2, "--head-refresh needs --local-head shared, whose");
  expect_error(train("--local-head linear --head-refresh 5"), 2,
               "--head-refresh needs --local-head");
  expect_error(train("--local-head shared --head-refresh x"), 2, "--head-refresh");
  expect_error(train("--local-head shared --head-refresh 0"), 2,
               "--head-refresh is 0; expected 1 or more");
  expect_error(train("--local-loss predsin"), 2,
               "--local-loss: 'predsin' is not known (did you mean predsim?)");
  expect_error(train("--schedule local-greedy --ranks 2 --clip 0 --local-loss sim"), 2,
               "local loss: sim compares classes, not tokens; expected pred");
  expect_error(train("--prune random"), 2, "--prune needs --sparsity X, the fraction that is held");
  expect_error(train("--prune-samples 8"), 2, "--prune-samples needs --sparsity X");
  expect_error(train("--sparsity 0.5 --prune random --prune-samples 8"), 2,
               "--prune-samples: --prune random takes no gradients; leave it out");
  expect_error(train("--sparsity 0.5 --prune snap"), 2,
               "--prune: 'snap' is not known (did you mean snip?)");
  expect_error(train("--optimizer sgd --momentum 0 --nesterov"), 2,
               "--nesterov: --momentum is 0; leave it out");
  expect_error(train("--learning-rate-decay linar"), 2, "(did you mean linear?)");
  expect_error(train("--augment crop,flop"), 2,
               "--augment: 'flop' is not known (did you mean flip?); expected none, or some of");
  expect_error(train("--loss-scale big"), 2,
               "--loss-scale is big; expected a number, 'auto' or 'dynamic'");
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
  expect_error(train("--dry-run --checkpoint " + path("text.txt")), 2,
               "--data " + path("text.txt") + ": lies in --checkpoint");
  expect_error(train("--dry-run --resume --hidden 32 --checkpoint " + path("a")), 2,
               "hidden is 24 there and 32 in this run");
  expect_error(train("--dry-run --cost-file " + path("none.json")), 1, "none.json: cannot open: ");
}

TEST_F(TrainErrorTest, AFullDiskEndsTheRunAndLeavesNothingHalfWritten) {
  const SmallDisk disk(250);  // has room for one checkpoint, and not for the next one beside it
  const CommandResult result = run_halfback(
      train("--checkpoint-every 1 --checkpoint " + (disk.path() / "checkpoint").string()) +
      " 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_TRUE(contains(result.output, "\nerror: ")) << result.output;
  EXPECT_TRUE(contains(result.output, "No space left on device; make room")) << result.output;
  EXPECT_EQ(num_entries(disk.path()), 1);
}

TEST_F(TrainErrorTest, ADiskWithoutRoomForACheckpointIsRefusedBeforeTheFirstStep) {
  const SmallDisk disk;
  expect_error(train("--checkpoint " + (disk.path() / "checkpoint").string()), 1,
               "checkpoint: 64.0 KiB are free there; a checkpoint takes 148 KiB");
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
