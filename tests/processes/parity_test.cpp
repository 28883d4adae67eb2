// Runs over several processes have the bits of the plain run, whatever the schedule.
#include "tests/support/errors.h"
#include "tests/support/process_run.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace halfback::testing {
namespace {

class ProcessParityTest : public ::testing::TestWithParam<int> {};

TEST_P(ProcessParityTest, EveryScheduleHasTheBitsOfThePlainRun) {
  ProcessRun run(GetParam(), {HALFBACK_PARITY_MEMBER});
  run.expect_success();
  for (int process = 0; process < run.count(); ++process) {
    const int num_schedules = std::atoi(run[process].text().c_str());
    EXPECT_GE(num_schedules, 20) << run[process].text();
  }
}

INSTANTIATE_TEST_SUITE_P(Processes, ProcessParityTest, ::testing::Values(2, 3, 4));

}  // namespace
}  // namespace halfback::testing
