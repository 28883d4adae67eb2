// The verbs train, generate and compare through the real binary, when all goes well or is stopped.
#include "tests/support/child_process.h"
#include "tests/support/errors.h"
#include "tests/support/training_command.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>

namespace halfback::testing {
namespace {

class TrainTest : public TrainingCommandTest {
 protected:
  std::int64_t saved_step(const std::string& checkpoint) const {
    return nlohmann::json::parse(slurp(directory_ / checkpoint / "training_state.json"))
        .at("step")
        .get<std::int64_t>();
  }
};

TEST_F(TrainTest, SaysWhatItTrainsAndHowItWent) {
  const std::string text = output_of(train("--checkpoint " + path("out") + " --evaluate-every 2"));
  EXPECT_TRUE(
      contains(text, "model: llama: layers 2, width 16, heads 2, hidden 24, sequence 16; 0.01 M "))
      << text;
  EXPECT_TRUE(
      contains(text, "schedule: 1f1b-1: 2 ranks, 2 stages, 2 micro-batches, split backward\n"))
      << text;
  EXPECT_TRUE(contains(text, "\nloss: 5.")) << text;
  EXPECT_TRUE(contains(text, ", validation 5.")) << text;
  EXPECT_TRUE(contains(text, "rank  parameters   gradients   optimizer activations        peak"))
      << text;
  EXPECT_TRUE(contains(text, "checkpoint: " + path("out") + " (step 3)\n")) << text;
}

TEST_F(TrainTest, EqualRunsGiveEqualModelsUnderEverySchedule) {
  const auto model_of = [&](const std::string& name, const std::string& arguments) {
    output_of(
        train("--schedule 1f1b --micro-batches 4 --checkpoint " + path(name) + " " + arguments));
    return model_bytes(name);
  };
  const std::string expected = model_of("a", "");
  EXPECT_TRUE(model_of("c", "--ranks 1 --two-stage off --schedule gpipe") == expected);
  EXPECT_TRUE(model_of("d", "--schedule 1f1b-2 --channel-capacity 4") == expected);
  EXPECT_FALSE(model_of("e", "--seed 2") == expected);
}

TEST_F(TrainTest, AScheduleFileRunsWhereANameDoes) {
  const std::string by_name = "--schedule gpipe --micro-batches 3";
  output_of(train(by_name + " --checkpoint " + path("name")));
  for (const char* format : {"csv", "torch-comm"}) {
    spit(directory_ / "plan.csv",
         output_of("schedule gpipe --ranks 2 --micro-batches 3 --format " + std::string(format)));
    output_of(train("--schedule " + path("plan.csv") + " --checkpoint " + path(format)));
    EXPECT_TRUE(model_bytes(format) == model_bytes("name")) << format;
  }
}

TEST_F(TrainTest, AConfigFileStandsForOptionsAndTheCommandLineWins) {
  const std::string odd = "two\nlines \"\\";
  output_of(train("--seed 4 --report " + path("report") + " --checkpoint '" + path(odd) + "'"));
  output_of("train --config " + path("report/config.toml") + " --checkpoint " + path("b") +
            " --report " + path("again"));
  EXPECT_TRUE(model_bytes("b") == model_bytes(odd));
  output_of("train --config " + path("report/config.toml") + " --seed 5 --checkpoint " + path("c"));
  EXPECT_FALSE(model_bytes("c") == model_bytes(odd));
}

TEST_F(TrainTest, AConfigFileHasTheRefreshOfSharedHeadsAndOfNoOthers) {
  const std::string greedy = "--scheme greedy --clip 0 --local-head ";
  output_of(train(greedy + "linear --report " + path("linear")));
  EXPECT_FALSE(contains(slurp(directory_ / "linear/config.toml"), "head-refresh"));
  output_of(train(greedy + "shared --report " + path("shared")));
  EXPECT_TRUE(contains(slurp(directory_ / "shared/config.toml"), "head-refresh = 10\n"));
  output_of(train(greedy + "shared --head-refresh 2 --report " + path("a") + " --checkpoint " +
                  path("at_2")));
  output_of("train --config " + path("a/config.toml") + " --report " + path("b") +
            " --checkpoint " + path("again"));
  EXPECT_TRUE(model_bytes("again") == model_bytes("at_2"));
  for (const char* report : {"a", "b"}) {
    EXPECT_TRUE(contains(slurp(directory_ / report / "config.toml"), "head-refresh = 2\n"));
  }
}

TEST_F(TrainTest, CtrlCKeepsTheWorkAndTheRunGoesOn) {
  const std::string options = train("--steps 60 --micro-batches 2");
  output_of(options + " --checkpoint " + path("straight"));

  std::istringstream words(options + " --checkpoint " + path("stopped"));
  ChildProcess process({std::istream_iterator<std::string>(words), {}});
  ASSERT_TRUE(process.wait_for_output());
  process.send(SIGINT);
  EXPECT_EQ(process.wait(), 130) << process.text();
  const std::int64_t step = saved_step("stopped");
  EXPECT_GE(step, 1);
  EXPECT_LT(step, 60);
  EXPECT_TRUE(contains(process.text(),
                       "stopped after step " + std::to_string(step) + "; continue with --resume\n"))
      << process.text();

  const std::string text = output_of(options + " --resume --checkpoint " + path("stopped"));
  EXPECT_TRUE(contains(text, "resumed: " + std::to_string(step) + " steps are done\n")) << text;
  EXPECT_EQ(saved_step("stopped"), 60);
  EXPECT_TRUE(model_bytes("stopped") == model_bytes("straight"));
  EXPECT_EQ(num_entries(directory_.path()), 3) << "something lies beside the checkpoints";
}

TEST_F(TrainTest, ATornCheckpointIsSaidAndTheRunGoesOnFromTheOneBefore) {
  output_of(train("--checkpoint-every 1 --keep 2 --checkpoint " + path("straight")));
  output_of(train("--checkpoint-every 1 --keep 2 --checkpoint " + path("a")));
  EXPECT_EQ(num_entries(directory_.path()), 5);
  EXPECT_EQ(saved_step("a.step-2"), 2);
  std::filesystem::resize_file(directory_ / "a" / "model.safetensors", 1000);
  const CommandResult result =
      run_halfback(train("--resume --checkpoint " + path("a")) + " 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output.find("note: " + path("a/model.safetensors: 1000 bytes; expected ")), 0U)
      << result.output;
  EXPECT_TRUE(contains(result.output,
                       "; the file is torn; the run resumes from " + path("a.step-2") + "\n"))
      << result.output;
  EXPECT_EQ(saved_step("a"), 3);
  EXPECT_TRUE(model_bytes("a") == model_bytes("straight"));
  EXPECT_TRUE(std::filesystem::exists(directory_ / "a.aside")) << "is not as train has written it";
  EXPECT_EQ(num_entries(directory_.path()), 5) << "without --keep the one before is removed";
}

TEST_F(TrainTest, SaysWhatStaysBesideTheCheckpointsThatAreKept) {
  output_of(train("--checkpoint " + path("a")));
  std::filesystem::rename(directory_ / "a", directory_ / "a.step-55");
  spit(directory_ / "a.step-55" / "mine.txt", "mine");
  const CommandResult result =
      run_halfback(train("--checkpoint-every 1 --keep 2 --checkpoint " + path("a")) +
                   " 2>&1 >/dev/null | grep stays");
  EXPECT_EQ(result.output, "note: " + path("a.step-55") +
                               ": stays, since train has not written all that it holds\n");
  EXPECT_EQ(saved_step("a.step-2"), 2);
}

TEST_F(TrainTest, ResumingTakesTheModelFromTheCheckpoint) {
  output_of(train("--checkpoint " + path("a")));
  const std::string text = output_of("train --data " + path("text.txt") +
                                     " --resume --steps 4 --ranks 1 --evaluate-every 0"
                                     " --checkpoint " +
                                     path("a"));
  EXPECT_TRUE(contains(text, "model: llama: layers 2, width 16")) << text;
  EXPECT_EQ(saved_step("a"), 4);
  const CommandResult result =
      run_halfback(train("--resume --clip 2 --checkpoint " + path("a")) + " 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_TRUE(contains(result.output, "note: " + path("a") +
                                          ": the run was with --clip 1 until step 4, and continues "
                                          "with 2\n"))
      << result.output;
}

TEST_F(TrainTest, ListsWithUpdatesGiveTheSameModelWhereNoNormIsNeeded) {
  for (const std::string limit : {" --clip 0", " --clip-scope stage"}) {
    output_of(train("--checkpoint " + path("a") + limit));
    output_of(train("--stage-updates on --checkpoint " + path("b") + limit));
    EXPECT_TRUE(model_bytes("a") == model_bytes("b")) << limit;
    std::filesystem::remove_all(directory_ / "a");
    std::filesystem::remove_all(directory_ / "b");
  }
  const CommandResult result = run_halfback(train("--stage-updates on") + " 2>&1");
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_TRUE(contains(result.output, "use --clip 0 or --clip-scope stage")) << result.output;
  const CommandResult wrong = run_halfback(train("--clip-scope rank") + " 2>&1");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_TRUE(contains(wrong.output, "--clip-scope: 'rank'")) << wrong.output;
}

TEST_F(TrainTest, ARunThatIsDoneHasNothingToDo) {
  output_of(train("--checkpoint " + path("a")));
  const std::string model = model_bytes("a");
  EXPECT_TRUE(contains(output_of(train("--resume --checkpoint " + path("a"))),
                       "nothing to do: all steps are done"));
  EXPECT_TRUE(model_bytes("a") == model);
}

TEST_F(TrainTest, TheMetricsOfAResumedRunGoOn) {
  const std::string common = " --checkpoint " + path("a") + " --report " + path("report");
  output_of(train(common));
  output_of(train("--resume --steps 5" + common));
  std::istringstream lines(slurp(directory_ / "report" / "metrics.jsonl"));
  std::vector<int> steps;
  for (std::string line; std::getline(lines, line);) {
    steps.push_back(nlohmann::json::parse(line).at("step").get<int>());
  }
  EXPECT_EQ(steps, (std::vector<int>{1, 2, 3, 4, 5}));
}

TEST_F(TrainTest, ThePageOfAResumedRunDrawsAllItsSteps) {
  const std::string common = " --checkpoint " + path("a") + " --report " + path("report");
  output_of(train(common));
  output_of(train("--resume --steps 5" + common));
  const std::string page = slurp(directory_ / "report" / "report.html");
  const std::string begin = "<script id=\"data\" type=\"application/json\">";
  const std::size_t at = page.find(begin) + begin.size();
  const nlohmann::json charts =
      nlohmann::json::parse(page.substr(at, page.find("</script>", at) - at)).at("charts");
  std::istringstream lines(slurp(directory_ / "report" / "metrics.jsonl"));
  nlohmann::json losses = nlohmann::json::array();
  for (std::string line; std::getline(lines, line);) {
    const nlohmann::json values = nlohmann::json::parse(line);
    losses.push_back({values.at("step"), values.at("loss")});
  }
  EXPECT_EQ(losses.size(), 5U);
  EXPECT_EQ(charts.at(0).at("curves").at(0).at("points"), losses);
  EXPECT_EQ(charts.at(2).at("unit"), "tokens/s");
}

TEST_F(TrainTest, AReportReplacesTheOneBeforeItAndNothingElse) {
  output_of(train("--report " + path("report")));
  const std::ptrdiff_t count = num_entries(directory_ / "report");
  spit(directory_ / "report" / "events.out.tfevents.1.other", "curves");
  output_of(train("--report " + path("report")));
  EXPECT_EQ(num_entries(directory_ / "report"), count + 1);
  EXPECT_EQ(slurp(directory_ / "report" / "events.out.tfevents.1.other"), "curves");
  spit(directory_ / "report" / "config.toml", "mine");
  const CommandResult refused =
      run_halfback(train("--report " + path("report")) + " 2>&1 >/dev/null");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_TRUE(contains(refused.output, "config.toml: is not as a run has written it"))
      << refused.output;
  EXPECT_EQ(slurp(directory_ / "report" / "config.toml"), "mine");
}

TEST_F(TrainTest, AnUnverifiedDeadlockEndsAtTheDeadlineAndNamesEveryRank) {
  spit(directory_ / "stuck.csv",
       "0F0,0SEND_F0,0RECV_B0,0B0\n"
       "1RECV_F0,1F0,1RECV_F1,1B0,1SEND_B0\n");
  const std::string run = train("--timeout 1 --schedule " + path("stuck.csv"));
  const CommandResult refused = run_halfback(run + " 2>&1 >/dev/null");
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_EQ(refused.output.find("error: "), 0U) << refused.output;
  EXPECT_FALSE(contains(refused.output, "waited")) << refused.output;
  const CommandResult stuck = run_halfback(run + " --no-verify 2>&1 >/dev/null");
  EXPECT_EQ(stuck.exit_code, 1);
  EXPECT_TRUE(contains(stuck.output, "error: ")) << stuck.output;
  EXPECT_TRUE(contains(stuck.output, "waited 1 s for ")) << stuck.output;
  EXPECT_TRUE(contains(stuck.output, "rank 0 is at position 2, 0RECV_B0")) << stuck.output;
  EXPECT_TRUE(contains(stuck.output, "rank 1 is at position 2, 1RECV_F1")) << stuck.output;
}

class GenerateTest : public TrainingCommandTest {
 protected:
  GenerateTest() { output_of(train("--checkpoint " + path("model"))); }
  std::string generate(const std::string& arguments) const {
    return output_of("generate --checkpoint " + path("model") + " " + arguments);
  }
};

TEST_F(GenerateTest, PrintsThePromptAndAsManyBytesAsAskedFor) {
  const std::string text = generate("--prompt 'And the' --tokens 40 --seed 3");
  EXPECT_EQ(text.size(), 7U + 40U + 1U);
  EXPECT_EQ(text.substr(0, 7), "And the");
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(generate("--prompt 'And the' --tokens 40 --seed 3"), text);
  EXPECT_NE(generate("--prompt 'And the' --tokens 40 --seed 4"), text);
  EXPECT_EQ(generate("--prompt 'And the' --tokens 0"), "And the\n");
}

TEST_F(GenerateTest, AReaderThatLeavesEndsIt) {
  const CommandResult result =
      run_halfback("generate --tokens 100000 --checkpoint " + path("model") + " 2>&1 | head -c 9");
  EXPECT_EQ(result.output.size(), 9U);
}

TEST_F(GenerateTest, ACheckpointThatIsNoneLeavesNoPromptBehind) {
  const CommandResult result =
      run_halfback("generate --prompt hello --checkpoint " + path("nowhere") + " 2>/dev/null");
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_EQ(result.output, "");
}

TEST_F(TrainingCommandTest, CompareSaysWhatIsEqualToTheBitAndThePeaksThatWerePredicted) {
  const auto rows = nlohmann::json::parse(output_of(
      "compare --schedules naive,gpipe,1f1b-1,1f1b-2 --ranks 2 --layers 2 --width 16 --heads 2"
      " --hidden 24 --sequence 16 --rounds 2 --warmup-rounds 1 --threads 1 --json"));
  ASSERT_EQ(rows.size(), 8U);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const nlohmann::json& row = rows[i];
    EXPECT_EQ(row.at("two_stage"), i % 2 == 1) << row;
    EXPECT_EQ(row.at("ranks"), 2) << row;
    EXPECT_EQ(row.at("bit_equal"), true) << row;
    EXPECT_GT(row.at("activation_bytes").at(0), 0) << row;
    EXPECT_EQ(row.at("activation_bytes"), row.at("predicted_activation_bytes")) << row;
    EXPECT_GT(row.at("step_seconds"), 0.0) << row;
    EXPECT_GT(row.at("tokens_per_second"), 0.0) << row;
  }
  EXPECT_EQ(rows[0].at("speed_up"), 1.0);
}

TEST_F(TrainingCommandTest, CompareTakesAFileAndPrintsATable) {
  spit(directory_ / "plan.csv", output_of("schedule 1f1b --ranks 2 --format csv"));
  const std::string text = output_of(
      "compare --ranks 2 --layers 2 --width 16 --heads 2 --hidden 24 --sequence 16 --rounds 1"
      " --warmup-rounds 0 --threads 1 --schedules gpipe," +
      path("plan.csv"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1 + 3 + 4) << text;
  EXPECT_TRUE(contains(text, " yes\n")) << text;
  EXPECT_FALSE(contains(text, " no\n")) << text;
}

}  // namespace
}  // namespace halfback::testing
