#include "halfback/launch/process_team.h"

#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

struct Said {
  TeamOutcome outcome;
  std::string output;
  std::string errors;
};

// Shells that run one script each.
class ProcessTeamTest : public ::testing::Test {
 protected:
  Said run(const std::vector<std::string>& scripts,
           std::chrono::milliseconds grace,
           std::chrono::milliseconds moment) {
    request_.program = "/bin/sh";
    request_.arguments = {"sh", "-c", "eval \"$SCRIPT\""};
    request_.processes.clear();
    for (std::size_t i = 0; i < scripts.size(); ++i) {
      request_.processes.push_back(
          {.name = "process " + std::to_string(i), .environment = {"SCRIPT=" + scripts[i]}});
    }
    request_.grace = grace;
    request_.moment = moment;
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    Said said{.outcome = run_team(request_, signals_), .output = {}, .errors = {}};
    said.output = ::testing::internal::GetCapturedStdout();
    said.errors = ::testing::internal::GetCapturedStderr();
    return said;
  }

  // Survivors must end by themselves.
  Said run(const std::vector<std::string>& scripts) { return run(scripts, kNever, kNever); }

  static constexpr std::chrono::milliseconds kSoon{100};
  static constexpr std::chrono::milliseconds kNever{600'000};

  // A script that waits for a file and for signals.
  std::string until(const std::string& name) const {
    return "until test -e " + (directory_ / name).string() + "; do sleep 0.01; done; ";
  }
  std::string make(const std::string& name) const {
    return "touch " + (directory_ / name).string() + "; ";
  }

  SignalQueue signals_ = team_signals();
  TemporaryDirectory directory_;
  TeamRequest request_;
};

TEST_F(ProcessTeamTest, LinesComeWholeAndSayWhose) {
  const Said said = run({"printf a; " + make("a") + until("b") + "echo c; echo x >&2",
                         until("a") + "echo b; echo y >&2; " + make("b")});
  EXPECT_EQ(said.outcome.exit_code, 0);
  const auto is_either = [](const std::string& text, const std::string& one,
                            const std::string& other) {
    return text == one + other || text == other + one;
  };
  EXPECT_TRUE(is_either(said.output, "[process 1] b\n", "ac\n")) << said.output;
  EXPECT_TRUE(is_either(said.errors, "[process 1] y\n", "x\n")) << said.errors;
}

TEST_F(ProcessTeamTest, EveryProcessHasItsLog) {
  request_.log_directory = directory_.path();
  run({"echo note >&2; echo 'error: two' >&2; exit 1", "printf three"});
  run({"echo four", "true"});
  EXPECT_EQ(slurp(directory_ / "process_0.log"), "note\nerror: two\nfour\n");
  EXPECT_EQ(slurp(directory_ / "process_1.log"), "three\n");
}

TEST_F(ProcessTeamTest, WhatAllSayIsToldOnce) {
  const std::string script = "echo 'error: no such thing' >&2; echo '  grid' >&2; exit 2";
  const Said said = run({script, script});
  EXPECT_EQ(said.outcome.exit_code, 2);
  EXPECT_EQ(said.outcome.error, "no such thing\n  grid");
  EXPECT_EQ(said.errors, "");
}

TEST_F(ProcessTeamTest, TheFirstFailureCountsAndOthersAreNotSwallowed) {
  const Said said =
      run({"trap \"echo 'error: one' >&2; exit 1\" TERM; " + make("a") + until("never"),
           until("a") + "echo 'error: two' >&2; exit 2"},
          kSoon, kNever);
  EXPECT_EQ(said.outcome.exit_code, 2);
  EXPECT_EQ(said.outcome.error, "two");
  EXPECT_TRUE(contains(said.errors, "error: one\n")) << said.errors;
}

TEST_F(ProcessTeamTest, NamesTheProcessThatDied) {
  const Said said = run({"exit 0", "kill -9 $$"});
  EXPECT_EQ(said.outcome.exit_code, 1);
  EXPECT_EQ(said.outcome.error, "process 1 was ended by signal 9 (Killed)");
  EXPECT_EQ(run({"exit 7", "exit 0"}).outcome.error,
            "process 0 ended with exit code 7 and gave no reason");
}

TEST_F(ProcessTeamTest, SurvivorsThatHangOrAreStoppedAreEnded) {
  const Said said = run({"trap '' TERM; sleep 1000 & wait; sleep 1000", "kill -STOP $$",
                         "trap 'exit 1' TERM; " + until("never"), "echo 'error: mine' >&2; exit 1"},
                        kSoon, kSoon);
  EXPECT_EQ(said.outcome.exit_code, 1);
  EXPECT_EQ(said.outcome.error, "mine");
}

TEST_F(ProcessTeamTest, ASignalIsPassedOn) {
  const std::string trap = "trap 'echo end; exit 130' INT; ";
  const Said said = run({trap + until("a") + "kill -INT $PPID; " + until("never"),
                         trap + make("a") + until("never")});
  EXPECT_EQ(said.outcome.exit_code, 130);
  EXPECT_EQ(said.outcome.error, "");
  EXPECT_EQ(said.output.size(), std::string("end\n[process 1] end\n").size()) << said.output;
}

TEST_F(ProcessTeamTest, ThoseThatDoNotEndAtTheSecondSignalAreEnded) {
  const Said said = run({until("a") + "trap '' INT; kill -INT $PPID; " + until("b") +
                             "kill -INT $PPID; " + until("never"),
                         "trap 'test -e " + (directory_ / "b").string() + " || " + make("b") +
                             "' INT; " + make("a") + until("never"),
                         "kill -STOP $$"},
                        kSoon, kSoon);
  EXPECT_EQ(said.outcome.exit_code, 130);
  EXPECT_EQ(said.outcome.error, "");
}

}  // namespace
}  // namespace halfback
