// The verbs schedule, verify and simulate, and what all verbs share, through the real binary.
#include "tests/support/command.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <unistd.h>

namespace halfback {
namespace {

using testing::CommandResult;
using testing::run_halfback;

class CommandLineTest : public ::testing::Test {
 protected:
  CommandLineTest() { std::filesystem::create_directories(folder_); }
  ~CommandLineTest() override { std::filesystem::remove_all(folder_); }

  std::string file(const std::string& name, const std::string& text) const {
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }

  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("halfback_cli_test." + std::to_string(getpid()));
};

void expect_error(const std::string& arguments, int exit_code, const std::string& text) {
  const CommandResult result = run_halfback(arguments + " 2>&1 >/dev/null");
  EXPECT_EQ(result.exit_code, exit_code) << arguments;
  EXPECT_EQ(result.output.substr(0, 7), "error: ") << result.output;
  EXPECT_NE(result.output.find(text), std::string::npos) << result.output;
}

// `script` gives the program a terminal.
TEST_F(CommandLineTest, GridsHaveColorsOnATerminalOnly) {
  const std::string command = std::string(HALFBACK_BINARY) + " schedule zb-h1 --ranks 2";
  const std::string on_terminal = "script -qc '" + command + "' /dev/null";
  EXPECT_NE(testing::run_command(on_terminal).output.find("\x1b[48;2;"), std::string::npos);
  EXPECT_EQ(testing::run_command("NO_COLOR=1 " + on_terminal).output.find('\x1b'),
            std::string::npos);
  EXPECT_EQ(testing::run_command(command).output.find('\x1b'), std::string::npos);
}

TEST_F(CommandLineTest, DrawsForPapersAndPages) {
  const CommandResult svg = run_halfback("simulate zb-v --ranks 2 --format svg");
  EXPECT_EQ(svg.exit_code, 0);
  EXPECT_EQ(svg.output.find("<svg xmlns="), 0U);
  const CommandResult page = run_halfback("simulate bitpipe --ranks 4 --format html");
  EXPECT_EQ(page.exit_code, 0);
  EXPECT_EQ(page.output.find("<!doctype html>"), 0U);
}

TEST_F(CommandLineTest, OptionsOfFamiliesAreTakenOrRefused) {
  EXPECT_NE(run_halfback("schedule zb-wave --ranks 2 --stages-per-rank 6").output.find("12 stages"),
            std::string::npos);
  expect_error("schedule 1f1b --stages-per-rank 2", 2, "1f1b: it takes no --stages-per-rank");
  expect_error("schedule v-search --memory-limit 0", 2,
               "v-search: --memory-limit 0 on 4 ranks; it is above 0");
  expect_error("simulate gis --ranks 8 --group-size 3", 2, "4 to 8 are allowed");
  expect_error("verify " + file("a.csv", "0F0,0B0\n") + " --for onnx", 2, "--for: 'onnx'");
  const CommandResult torch =
      run_halfback("verify " + file("b.csv", "# x\n0F0,0B0\n") + " --for torch");
  EXPECT_EQ(torch.exit_code, 1);
  EXPECT_NE(torch.output.find("refused: line 1: a comment"), std::string::npos) << torch.output;
}

TEST_F(CommandLineTest, DrawsASchedule) {
  const CommandResult result = run_halfback("schedule naive --ranks 2");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.output,
            "naive: 2 ranks, 2 stages, 1 micro-batch, split backward\n"
            "rank 0  F..bw\n"
            "rank 1  .Fbw.\n");
}

TEST_F(CommandLineTest, PrintsEveryFormat) {
  const std::string gpipe = "schedule gpipe --ranks 2 --micro-batches 1 --two-stage off --format ";
  EXPECT_EQ(run_halfback(gpipe + "csv").output,
            "# halfback schedule name=gpipe micro_batches=1 placement=0,1\n0F0,0B0\n1F0,1B0\n");
  EXPECT_EQ(run_halfback(gpipe + "torch").output, "0F0,0B0\n1F0,1B0\n");
  EXPECT_EQ(run_halfback(gpipe + "torch-comm").output,
            "0F0,0SEND_F0,0RECV_B0,0B0,0REDUCE_GRAD\n1RECV_F0,1F0,1B0,1SEND_B0,1REDUCE_GRAD\n");
  const auto json = nlohmann::json::parse(run_halfback(gpipe + "json").output);
  EXPECT_EQ(json.at("ranks").at(1).at(0), "1F0");
  EXPECT_NE(run_halfback(gpipe + "numbers").output.find("rank 1  .  F0 B0 --"), std::string::npos);
}

TEST_F(CommandLineTest, JsonIsOneFlagForPrograms) {
  for (const std::string verb : {"schedule gpipe", "simulate gpipe --ranks 2"}) {
    EXPECT_EQ(run_halfback(verb + " --json").output, run_halfback(verb + " --format json").output);
    expect_error(verb + " --json --format grid", 2, "--json beside --format grid");
  }
  const std::string path = file("wrong.csv", "0F0,0B0\n1B0,1F0\n");
  const CommandResult result = run_halfback("verify --json " + path + " 2>/dev/null");
  EXPECT_EQ(result.exit_code, 1);
  const auto json = nlohmann::json::parse(result.output);
  EXPECT_EQ(json.at("valid"), false);
  EXPECT_EQ(json.at("rank"), 1);
  EXPECT_EQ(json.at("position"), 0);
  EXPECT_EQ(json.at("action"), "1B0");
  EXPECT_NE(json.at("error").get<std::string>().find("1B0 comes before 1F0"), std::string::npos)
      << json;
}

TEST_F(CommandLineTest, PipelinesShareAStep) {
  const CommandResult csv =
      run_halfback("schedule 1f1b --ranks 2 --micro-batches 2 --data-parallel 2 --format csv");
  EXPECT_EQ(csv.exit_code, 0);
  EXPECT_EQ(csv.output.find("# halfback schedule name=1f1b micro_batches=4 placement=0,1|2,3 "),
            0U);
  const CommandResult valid = run_halfback("verify " + file("two.csv", csv.output));
  EXPECT_NE(valid.output.find("replicas                   2, reduced where the lists say"),
            std::string::npos)
      << valid.output;
  const CommandResult found = run_halfback(
      "simulate 1f1b --ranks 2 --micro-batches 2 --data-parallel 2 --reduce-cost 3 --format json");
  const auto result = nlohmann::json::parse(found.output);
  EXPECT_EQ(result.at("makespan"), 7 + 3);
  EXPECT_EQ(result.at("replicas"), 2);
  EXPECT_EQ(result.at("ranks").at(3).at("exposed_reduction"), 3);
  expect_error("schedule 1f1b --data-parallel 0", 2, "there is at least one");
  expect_error("schedule 1f1b --data-parallel 2 --format torch", 2, "no place for replicas");
}

TEST_F(CommandLineTest, ListsFamilies) {
  const CommandResult result = run_halfback("schedule list");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.output.find("1f1b-2-capped"), std::string::npos);
  const auto all = nlohmann::json::parse(run_halfback("schedule list --json").output);
  EXPECT_EQ(all.at(2).at("name"), "1f1b");
  EXPECT_EQ(all.at(2).at("idle"), "N-1, M >= N");
  expect_error("schedule list --format csv", 2,
               "--format csv of 'list'; expected json or none; leave it out, or name a schedule");
}

TEST_F(CommandLineTest, VerifiesWhatItWrites) {
  const std::string path = file("plan.csv", run_halfback("schedule 1f1b-1 --format csv").output);
  const CommandResult text = run_halfback("verify " + path);
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_NE(text.output.find("plan.csv: valid"), std::string::npos);
  const auto json = nlohmann::json::parse(run_halfback("verify --json --channel 1 " + path).output);
  EXPECT_EQ(json.at("smallest_channel_capacity"), 1);
  EXPECT_EQ(json.at("weight_gradients_ascend"), true);
  const auto unbuffered =
      nlohmann::json::parse(run_halfback("verify --json --channel rendezvous " + path).output);
  EXPECT_EQ(unbuffered.at("smallest_channel_capacity"), 0);
  EXPECT_EQ(unbuffered.at("runs_under_nccl_pair"), true);
}

TEST_F(CommandLineTest, VerifiesUnderStreams) {
  // Both ranks send before they receive: the stream of the pair never moves.
  const std::string path = file("cross.csv",
                                "# halfback schedule micro_batches=2 placement=0,1\n"
                                "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n"
                                "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1\n");
  const auto json =
      nlohmann::json::parse(run_halfback("verify --json --channel nccl " + path).output);
  EXPECT_EQ(json.at("runs_under_nccl"), true);
  EXPECT_EQ(json.at("runs_under_nccl_pair"), false);
  EXPECT_EQ(json.at("smallest_channel_capacity"), 1);
  expect_error("verify --channel nccl-pair " + path, 1, "1F1 waits for 1RECV_F1 (position 4)");
  expect_error("simulate --channel nccl " + path, 2, "times under nccl are unknown");
  expect_error("verify --channel ncll " + path, 2, "did you mean nccl?");
  const std::string early =
      file("early.csv", "0F0,0RECV_B0,0SEND_F0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n");
  EXPECT_NE(run_halfback("verify --channel nccl " + early)
                .output.find("none: receives stand too early, and only streams let it run"),
            std::string::npos);
  const auto none =
      nlohmann::json::parse(run_halfback("verify --json --channel nccl " + early).output);
  EXPECT_TRUE(none.at("smallest_channel_capacity").is_null());
}

TEST_F(CommandLineTest, VerifiesALimitOfActivations) {
  const std::string path = file("plan.csv", "0F0,0F1,0B0,0B1\n1F0,1B0,1F1,1B1\n");
  EXPECT_NE(run_halfback("verify --activation-limit 2 " + path)
                .output.find("most activations held      2 M_B"),
            std::string::npos);
  expect_error("verify --activation-limit 1.5 " + path, 1,
               "0F1 makes the rank hold the activations of 2 micro-batches");
}

TEST_F(CommandLineTest, BuildsAndVerifiesLocalUpdates) {
  const std::string text = run_halfback("schedule local-chunked --ranks 2 --format csv").output;
  EXPECT_EQ(text,
            "# halfback schedule name=local-chunked micro_batches=2 placement=0,1 losses=0:0,1:1 "
            "weights=sum\n"
            "0F0,0I0,0W0,0F1,0I1,0W1,0U\n"
            "1F0,1I0,1W0,1F1,1I1,1W1,1U\n");
  const std::string path = file("local.csv", text);
  const std::string found = run_halfback("verify " + path).output;
  EXPECT_NE(found.find("losses and their reach     0:0,1:1\n"), std::string::npos) << found;
  EXPECT_NE(found.find("weights take               sum\n"), std::string::npos) << found;
  const auto json = nlohmann::json::parse(run_halfback("verify --json " + path).output);
  EXPECT_EQ(json.at("losses"), "0:0,1:1");
  EXPECT_EQ(json.at("stage_updates"), true);
  const auto printed = nlohmann::json::parse(
      run_halfback("schedule local-interlocking --ranks 3 --distance 2 --format json").output);
  EXPECT_EQ(printed.at("losses"), "0:none,1:none,2:0");
  EXPECT_EQ(printed.at("weights"), "furthest");
  expect_error("schedule local-overlapping --window 5", 2, "--window 5 on 4 ranks; it is 1 to 4");
  expect_error("schedule local-last --trained 0", 2,
               "local-last: --trained 0 on 4 ranks; it is 1 to 4");
  expect_error("schedule local-greedy --format torch", 2,
               "no place for the losses 0:0,1:1,2:2,3:3");
  expect_error("schedule local-greedy --stage-updates maybe", 2, "--stage-updates: 'maybe'");
  expect_error("simulate " + path + " --stage-updates off", 2,
               "stages, order, losses and updates; leave --stage-updates out");
}

TEST_F(CommandLineTest, SimulatesStepsBackToBack) {
  const std::string steps = "simulate local-greedy --ranks 3 --micro-batches 2 --repeat 5";
  const auto greedy = nlohmann::json::parse(run_halfback(steps + " --format json").output);
  EXPECT_EQ(greedy.at("makespan"), 2 + 5 * 6);
  EXPECT_EQ(greedy.at("steady_step"), 6);
  EXPECT_EQ(greedy.at("steady_step_bubble_fraction"), 0);
  EXPECT_NE(run_halfback(steps).output.find("steady step 6, bubble fraction 0.000\n"),
            std::string::npos);
  const auto backprop = nlohmann::json::parse(
      run_halfback(
          "simulate 1f1b --ranks 2 --two-stage off --stage-updates on --repeat 3 --format json")
          .output);
  EXPECT_EQ(backprop.at("steady_step"), 9);
  expect_error("simulate 1f1b --repeat 3", 2,
               "--stage-updates on updates each stage after its own");
  expect_error("simulate local-greedy --repeat 0", 2,
               "0 steps of 4 micro-batches; at least 1 step");
}

TEST_F(CommandLineTest, RefusesFaultyFilesWithFailure) {
  expect_error("verify " + file("bad.csv", "0F0,0W0,0I0\n"), 1, "0W0 comes before 0I0");
  expect_error("verify " + file("junk.csv", "0F0x\n"), 1,
               "line 1, column 1: '0F0x' is not an action");
  expect_error("verify nowhere.csv", 1, "nowhere.csv: cannot open: ");
}

TEST_F(CommandLineTest, SimulatesNamesAndFiles) {
  const CommandResult text = run_halfback("simulate 1f1b-1");
  EXPECT_NE(text.output.find("makespan 15, bubble fraction 0.200"), std::string::npos);
  const std::string path = file("plan.csv", "0F0,0B0\n1F0,1B0\n");
  const auto json = nlohmann::json::parse(
      run_halfback("simulate " + path + " --cost 1,1,1,3 --latency 0.5 --format json").output);
  EXPECT_EQ(json.at("makespan"), 9.0);
  const auto trace =
      nlohmann::json::parse(run_halfback("simulate " + path + " --format trace").output);
  EXPECT_EQ(trace.at("traceEvents").size(), 6U);
  const std::string costs =
      file("costs.json", R"({"stages": [{"forward": 2, "input": 1, "weight": 1}]})");
  EXPECT_NE(run_halfback("simulate naive --cost-file " + costs).output.find("makespan 13"),
            std::string::npos);
}

TEST_F(CommandLineTest, SimulatesSharesOfTheModel) {
  // Two stages a rank: each takes half of the time given for 1/N of the model.
  const std::string folded =
      file("v.csv",
           "# halfback schedule micro_batches=1 placement=0,1,1,0\n0F0,3F0,3B0,0B0\n"
           "1F0,2F0,2B0,1B0\n");
  EXPECT_NE(run_halfback("simulate " + folded).output.find("makespan 6,"), std::string::npos);
  const auto json =
      nlohmann::json::parse(run_halfback("simulate " + folded + " --format json").output);
  EXPECT_EQ(json.at("stages"), 4);
  EXPECT_EQ(json.at("stage_step"), 6.0);
  EXPECT_EQ(json.at("messages_added"), false);
  EXPECT_EQ(json.at("ranks").at(0).at("activation_peak"), 1.0);
  EXPECT_EQ(json.at("ranks").at(1).at("busy"), 3.0);
  EXPECT_NE(run_halfback("schedule " + folded).output.find("rank 0  F..FBB....BB\n"),
            std::string::npos);
}

TEST_F(CommandLineTest, SimulatesChannelsAndLinks) {
  const std::string costs =
      file("costs.json", R"({"stages": [{"forward": 1, "input": 1, "weight": 1,
      "activation_bytes": 8, "gradient_bytes": 4}], "bandwidth": 4})");
  const std::string command = "simulate naive --ranks 2 --format json --cost-file " + costs;
  EXPECT_EQ(nlohmann::json::parse(run_halfback(command).output).at("makespan"), 5 + 2 + 1);
  const auto bounded = nlohmann::json::parse(
      run_halfback(command + " --bandwidth 8 --latency 1 --channel rendezvous").output);
  EXPECT_EQ(bounded.at("makespan"), 5 + 1 + 0.5 + 2);
  EXPECT_EQ(bounded.at("messages_added"), true);
  const std::string met = "simulate 1f1b --ranks 2 --json --channel ";
  EXPECT_EQ(nlohmann::json::parse(run_halfback(met + "rendezvous").output).at("makespan"),
            nlohmann::json::parse(run_halfback(met + "buffered").output).at("makespan"));
  expect_error("simulate naive --bandwidth 8", 2,
               "simulate: bandwidth without the bytes of messages");
  expect_error("simulate naive --cost 1e300,1,1 --format trace", 2,
               "; expected 1e+12 or less; use smaller costs or more bandwidth");
  expect_error("simulate naive --channel full", 2, "'full' is not a rule");
}

TEST_F(CommandLineTest, SimulatesBytes) {
  const std::string bytes = R"({"until_input": 1, "until_weight": 2, "gradients": 4,
      "activation_message": 8, "gradient_message": 16, "parameters": 100, "optimizer": 200})";
  const std::string memory = file("memory.json", R"({"stages": [)" + bytes + "]}");
  const std::string command = "simulate gpipe --ranks 2 --micro-batches 2 --memory-file " + memory;
  const auto json = nlohmann::json::parse(run_halfback(command + " --format json").output);
  EXPECT_EQ(json.at("ranks").at(1).at("memory"), nlohmann::json({{"parameters", 100},
                                                                 {"parameter_gradients", 100},
                                                                 {"optimizer", 200},
                                                                 {"total", 412},
                                                                 {"peak", 12},
                                                                 {"until_input", 0},
                                                                 {"until_weight", 4},
                                                                 {"gradients", 8},
                                                                 {"messages", 0}}));
  const CommandResult text = run_halfback(command);
  EXPECT_NE(text.output.find(
                "   1           400           0           4           8           0           412"),
            std::string::npos)
      << text.output;
  const std::string costs =
      file("costs.json",
           R"({"stages": [{"forward": 1, "input": 1, "weight": 1, "memory": )" + bytes + "}]}");
  EXPECT_EQ(run_halfback("simulate gpipe --ranks 2 --micro-batches 2 --cost-file " + costs).output,
            text.output);
}

TEST_F(CommandLineTest, SimulationsFitALine) {
  const std::string memory = file(
      "memory.json", R"({"stages": [{"until_input": 9999999999, "until_weight": 2, "gradients": 4,
      "activation_message": 8, "gradient_message": 16, "parameters": 300000000000}]})");
  std::istringstream lines(run_halfback("simulate 1f1b --micro-batches 99 --channel 2 --cost "
                                        "1.23456789,1,1 --memory-file " +
                                        memory)
                               .output);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 80U) << line;
  }
}

TEST_F(CommandLineTest, UsageErrorsSuggestAndExitWithTwo) {
  expect_error("shedule", 2, "unknown verb 'shedule' (did you mean schedule?); known are ");
  expect_error("schedule gpipe --rank 4", 2, "did you mean ranks?");
  expect_error("schedule gpip", 2, "did you mean gpipe?");
  expect_error("schedule gpipe --format gird", 2, "did you mean grid?");
  expect_error("schedule gpipe --two-stage yes", 2, "expected on, off");
  expect_error("schedule gpipe --ranks x", 2, "--ranks");
  expect_error("schedule 1f1b-1 --micro-batches 3", 2, "use --micro-batches 4");
  expect_error("simulate gpipe --cost 1,1", 2, "2 numbers; expected f,i,w or f,i,w,b, as in 1,1,1");
  expect_error("simulate gpipe --cost 1,x,1", 2,
               "'x' is not a number of at least 0; expected f,i,w");
  expect_error("simulate gpipe --cost 1,1,1 --cost-file c.json", 2,
               "--cost and --cost-file are both");
  expect_error("simulate " + file("p.csv", "0F0,0B0\n") + " --ranks 2", 2, "the file has 1 ranks");
  expect_error("", 2, "subcommand");
}

TEST_F(CommandLineTest, ConfigurationFileGivesWayToTheCommandLine) {
  const std::string config =
      file("run.toml", "ranks = 2\nmicro-batches = 1\ntwo-stage = \"off\"\nformat = \"torch\"\n");
  EXPECT_EQ(run_halfback("schedule gpipe --config " + config).output, "0F0,0B0\n1F0,1B0\n");
  EXPECT_EQ(run_halfback("schedule gpipe --ranks 1 --config=" + config).output, "0F0,0B0\n");
  const std::string lists = "ranks = 3\nmicro-batches = 4\nqueue = [1, 0]\nformat = \"csv\"\n";
  EXPECT_EQ(
      run_halfback("schedule greedy --config " + file("lists.toml", lists)).output,
      run_halfback("schedule greedy --ranks 3 --micro-batches 4 --queue 1,0 --format csv").output);
  expect_error("schedule gpipe --config " + file("two.toml", "ranks = [2, 3]\n"), 2, "ranks");
  expect_error("schedule gpipe --config " + file("typo.toml", "ranks = 2\nformt = \"csv\"\n"), 2,
               "typo.toml:2: option 'formt' of schedule (did you mean format?)");
  expect_error("schedule gpipe --config " + file("broken.toml", "ranks = \n"), 1,
               "broken.toml:1: no TOML: ");
  expect_error("schedule gpipe --config nowhere.toml", 1, "no such configuration file");
}

TEST_F(CommandLineTest, HelpAndVersionSucceed) {
  EXPECT_EQ(run_halfback("--version").output.substr(0, 9), "halfback ");
  for (const char* verb : {"schedule", "verify", "simulate"}) {
    const CommandResult result = run_halfback(std::string(verb) + " --help");
    EXPECT_EQ(result.exit_code, 0);
    EXPECT_NE(result.output.find("Example: halfback " + std::string(verb)), std::string::npos);
  }
}

TEST_F(CommandLineTest, OutputThatCannotBeWrittenIsAFailureAndNoCrash) {
  const CommandResult full = run_halfback("schedule gpipe 2>&1 1>/dev/full");
  EXPECT_EQ(full.exit_code, 1);
  EXPECT_EQ(full.output, "error: standard output cannot be written\n");
  const CommandResult closed =
      run_halfback("schedule gpipe --ranks 500 --micro-batches 500 --format csv 2>&1 | head -c 1");
  EXPECT_EQ(closed.output, "#");
}

}  // namespace
}  // namespace halfback
