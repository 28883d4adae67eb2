#include "halfback/launch/launcher.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <fstream>

namespace halfback {
namespace {

// Two shells that run one script.
class LauncherTest : public ::testing::Test {
 protected:
  int launch(const std::string& script) {
    request_.team.program = "/bin/sh";
    request_.team.arguments = {"sh", "-c", script, "sh"};
    request_.team.processes = {{"process 0", {}}, {"process 1", {}}};
    ::testing::internal::CaptureStdout();
    const int exit_code = halfback::launch(request_);
    output_ = ::testing::internal::GetCapturedStdout();
    return exit_code;
  }

  template <typename Failure>
  std::string failure_of(const std::string& script) {
    const std::string text = text_of_thrown<Failure>([&] { launch(script); });
    ::testing::internal::GetCapturedStdout();
    return text;
  }

  std::string output_;
  std::vector<std::string> failures_;
  LaunchRequest request_{.team = {},
                         .max_restarts = 0,
                         .make_meeting_place = [] { return "PLACE=here"; },
                         .on_restart =
                             [this](int restart, const std::string& failure) {
                               EXPECT_EQ(restart, static_cast<int>(failures_.size()) + 1);
                               failures_.push_back(failure);
                               return std::vector{"again" + std::to_string(restart)};
                             }};
};

TEST_F(LauncherTest, EachProcessKnowsItsNumberAndWhereToMeet) {
  EXPECT_EQ(launch("test $HALFBACK_PROCESS = 1 || exit 0; "
                   "echo $HALFBACK_PROCESS of $HALFBACK_PROCESSES $PLACE $HALFBACK_RESTART $#"),
            0);
  EXPECT_EQ(output_, "[process 1] 1 of 2 here 0 0\n");
}

TEST_F(LauncherTest, StartsAllAgainWithTheArgumentsOfThatRestart) {
  request_.max_restarts = 3;
  EXPECT_EQ(launch("test $HALFBACK_PROCESS = 0 || exit 0; "
                   "test $HALFBACK_RESTART = 2 || { echo error: broke >&2; exit 1; }; echo $# $1"),
            0);
  EXPECT_EQ(output_, "1 again2\n");
  EXPECT_EQ(failures_, (std::vector<std::string>{"broke", "broke"}));
}

TEST_F(LauncherTest, GivesUpAfterTheLastRestart) {
  request_.max_restarts = 1;
  EXPECT_EQ(failure_of<Error>("test $HALFBACK_PROCESS = 1 || kill -9 $$"),
            "process 0 was ended by signal 9 (Killed)");
  EXPECT_EQ(failures_.size(), 1);
}

TEST_F(LauncherTest, DoesNotRepeatWhatTheFirstStartRefuses) {
  request_.max_restarts = 1;
  EXPECT_EQ(failure_of<Error>("echo error: no such file >&2; exit 3"), "no such file");
  EXPECT_EQ(failure_of<ConfigError>("echo error: no such option >&2; exit 2"), "no such option");
  EXPECT_TRUE(failures_.empty());
}

TEST_F(LauncherTest, RefusesALogDirectoryThatCannotBeMade) {
  const TemporaryDirectory directory;
  std::ofstream(directory / "file") << "x";
  request_.team.log_directory = directory / "file" / "logs";
  EXPECT_EQ(failure_of<FileError>("true"), (directory / "file/logs").string() +
                                               ": cannot make the directory: Not a directory; "
                                               "choose another --log-dir");
}

}  // namespace
}  // namespace halfback
