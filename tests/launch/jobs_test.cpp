#include "halfback/launch/jobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <pthread.h>
#include <unistd.h>

namespace halfback {
namespace {

class JobsTest : public ::testing::Test {
 protected:
  JobsOutcome run(const std::vector<std::string>& scripts, int num_at_once) {
    JobsRequest request{.jobs = {}, .num_at_once = num_at_once, .on_result = {}};
    for (const std::string& script : scripts) {
      request.jobs.push_back({.number = static_cast<int>(request.jobs.size()),
                              .command = {.program = "/bin/sh",
                                          .arguments = {"sh", "-c", script},
                                          .environment = {"PATH=/usr/bin:/bin"}}});
    }
    request.on_result = [this](int number, const std::string& output) {
      results_[number] = output;
    };
    return run_jobs(request, signals_);
  }

  SignalQueue signals_{SIGCHLD, SIGINT, SIGTERM};
  std::map<int, std::string> results_;
};

TEST_F(JobsTest, RunsAllAndHandsOnWhatEachPrints) {
  for (const int num_at_once : {1, 2, 5}) {
    results_.clear();
    const JobsOutcome outcome = run(
        {"echo a; echo note >&2", "sleep 0.1; echo b", "exec >&- 2>&-; sleep 0.1"}, num_at_once);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_EQ(outcome.signal, 0);
    EXPECT_EQ(results_, (std::map<int, std::string>{{0, "a\n"}, {1, "b\n"}, {2, ""}}));
  }
  EXPECT_EQ(run({}, 3).exit_code, 0);
}

TEST_F(JobsTest, TakesLongOutput) {
  run({"head -c 1000000 /dev/zero"}, 1);
  EXPECT_EQ(results_[0].size(), 1000000U);
}

TEST_F(JobsTest, TheFirstFailureEndsTheWork) {
  const JobsOutcome outcome =
      run({"echo note >&2; echo 'error: no luck' >&2; exit 2", "sleep 600", "echo c"}, 2);
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.failed_job, 0);
  EXPECT_EQ(outcome.error, "no luck");
  EXPECT_TRUE(results_.empty());
  EXPECT_EQ(run({"kill -9 $$"}, 1).error, "it was ended by signal 9");
}

TEST_F(JobsTest, ASignalEndsTheWork) {
  const JobsOutcome outcome =
      run({"kill -INT " + std::to_string(::getpid()) + "; sleep 600", "sleep 600"}, 1);
  EXPECT_EQ(outcome.signal, SIGINT);
  EXPECT_EQ(outcome.exit_code, 0);
}

}  // namespace
}  // namespace halfback
