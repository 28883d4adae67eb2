#include "halfback/transport/stop_together.h"

#include <gtest/gtest.h>

#include <unistd.h>
#include <vector>

namespace halfback {
namespace {

TEST(StopTogetherTest, CallsBackOnceWhateverIsFirst) {
  for (const bool is_failure_first : {false, true}) {
    StopTogether policy(std::chrono::seconds(0));
    std::vector<std::string> failures;
    const auto callback = [&](const std::string& failure) { failures.push_back(failure); };
    if (is_failure_first) {
      policy.stop("boom");
      policy.on_failure(callback);
    } else {
      policy.on_failure(callback);
      policy.stop("boom");
    }
    EXPECT_EQ(failures, std::vector<std::string>{"boom"});
  }
}

TEST(StopTogetherTest, ACallbackThatWasTakenBackIsNotCalled) {
  StopTogether policy(std::chrono::seconds(0));
  policy.on_failure([](const std::string& /*failure*/) { FAIL(); });
  policy.on_failure(nullptr);
  policy.stop("boom");
}

TEST(StopTogetherDeathTest, EndsAProcessThatDoesNotEnd) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        StopTogether(std::chrono::milliseconds(1)).stop("boom");
        while (true) {
          ::pause();
        }
      },
      ::testing::ExitedWithCode(1), "error: boom\n");
}

}  // namespace
}  // namespace halfback
