// Whatever a text or a schedule has become: it is read and runs, or it is refused.
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
  const Schedule schedule = testing::family_or_on_four(name, *rc::gen::inRange(1, 5));
  return *rc::gen::arbitrary<bool>() ? add_communication(schedule) : schedule;
}

// One of: swap two, drop one, double one, move one to another rank, change one.
void mutate(Schedule& schedule) {
  auto& list = schedule.ranks[*rc::gen::inRange<std::size_t>(0, schedule.ranks.size())];
  if (list.empty()) {
    return;
  }
  const auto at = *rc::gen::inRange<std::size_t>(0, list.size());
  const auto other = *rc::gen::inRange<std::size_t>(0, list.size());
  switch (*rc::gen::inRange(0, 5)) {
    case 0:
      std::swap(list[at], list[other]);
      break;
    case 1:
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 2:
      list.push_back(list[at]);
      break;
    case 3:
      schedule.ranks[*rc::gen::inRange<std::size_t>(0, schedule.ranks.size())].push_back(list[at]);
      break;
    default:
      list[at] = {static_cast<ActionKind>(*rc::gen::inRange(0, kNumActionKinds)),
                  *rc::gen::inRange(-1, 6), *rc::gen::inRange(-1, 9)};
  }
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
      mutate(schedule);
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
                                 rc::gen::elementOf(std::string("0123456789FIWBU,\n# =")));
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
