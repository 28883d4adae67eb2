// Whatever a text or a schedule has become: it is read and runs, or it is refused.
#include "tests/support/mutation.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"
#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

namespace halfback {
namespace {

Schedule any_family_schedule() {
  const std::string name = *rc::gen::elementOf(family_names());
  Schedule schedule = testing::family_or_on_four(name, *rc::gen::inRange(1, 5));
  if (*rc::gen::arbitrary<bool>()) {
    schedule = data_parallel(schedule, 2);
  }
  return *rc::gen::arbitrary<bool>() ? add_communication(schedule) : schedule;
}

void expect_runs_or_is_refused(const Schedule& schedule) {
  try {
    validate(schedule);
  } catch (const ScheduleError&) {
    return;
  }
  const SimulationResult result = simulate(schedule, {});
  RC_ASSERT(result.timeline.spans.size() == static_cast<std::size_t>(num_actions(schedule)));
  RC_ASSERT(smallest_channel_capacity(schedule) >= 0);
}

TEST(MutationTest, MutatedSchedulesRunOrAreRefused) {
  EXPECT_TRUE(rc::check([] {
    Schedule schedule = any_family_schedule();
    const int count = *rc::gen::inRange(0, 4);
    for (int i = 0; i < count; ++i) {
      testing::mutate(schedule);
    }
    expect_runs_or_is_refused(schedule);
  }));
}

TEST(MutationTest, MutatedTextsAreReadOrRefused) {
  EXPECT_TRUE(rc::check([] {
    std::string text = to_csv(any_family_schedule());
    const int count = *rc::gen::inRange(0, 4);
    for (int i = 0; i < count; ++i) {
      const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
      text[at] = *rc::gen::oneOf(rc::gen::arbitrary<char>(),
                                 rc::gen::elementOf(std::string("0123456789FIWBU:,\n# =")));
    }
    try {
      expect_runs_or_is_refused(testing::parse(text));
    } catch (const ScheduleError&) {
    }
  }));
}

TEST(MutationTest, AnyBytesAreReadOrRefused) {
  EXPECT_TRUE(rc::check([](const std::string& text) {
    try {
      expect_runs_or_is_refused(testing::parse(text));
    } catch (const ScheduleError&) {
    }
  }));
}

}  // namespace
}  // namespace halfback
