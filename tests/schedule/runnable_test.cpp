// Schedules on their way to the engine: messages are added once, and what cannot run is refused.
#include "halfback/schedule/runnable.h"

#include "halfback/base/error.h"
#include "halfback/schedule/communication.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

constexpr const char* kBackToFront = "0F0,0SEND_F0,0RECV_B0,0B0\n1F0,1RECV_F0,1B0,1SEND_B0\n";

TEST(RunnableTest, AddsTheMessagesOfItsCapacity) {
  const Schedule plain = build_schedule("1f1b", {.num_ranks = 3, .num_micro_batches = 6});
  for (const int capacity : {1, 2, 16}) {
    const RunnableSchedule made = make_runnable(plain, {.channel_capacity = capacity});
    EXPECT_EQ(made->ranks, add_communication(plain, {capacity}).ranks);
    EXPECT_EQ(made.channel_capacity(), capacity);
    EXPECT_EQ(make_runnable(*made, {.channel_capacity = capacity})->ranks, made->ranks);
  }
}

TEST(RunnableTest, ValidatesUnlessToldNotTo) {
  const Schedule wrong = parse_schedule(kBackToFront, "a.csv");
  const std::string text =
      text_of_thrown<ScheduleError>([&] { make_runnable(wrong, {.where = "a.csv"}); });
  EXPECT_TRUE(contains(text, "a.csv: rank 1, position 0: 1F0")) << text;
  EXPECT_EQ(make_runnable(wrong, {.verifies = false})->ranks, wrong.ranks);
}

TEST(RunnableTest, MessagesAreAddedToValidListsOnly) {
  const Schedule wrong = parse_schedule("0F0,0B0\n1B0,1F0\n", "a.csv");
  const std::string text = text_of_thrown<ScheduleError>(
      [&] { make_runnable(wrong, {.verifies = false, .where = "a.csv"}); });
  EXPECT_TRUE(contains(text, "a.csv: rank 1, position 0: 1B0")) << text;
}

TEST(RunnableTest, RefusesWhatNoPipelineCanRun) {
  EXPECT_EQ(text_of_thrown<ConfigError>([] {
              make_runnable(build_schedule("gpipe", {.num_ranks = 1, .num_micro_batches = 1}),
                            {.channel_capacity = 0});
            }),
            "--channel-capacity is 0; expected 1 or more");
  Schedule twice = build_schedule("chimera", {.num_ranks = 2, .num_micro_batches = 2});
  twice.placement.replicas[1] = twice.placement.replicas[0];
  EXPECT_TRUE(contains(text_of_thrown<ScheduleError>([&] { make_runnable(twice); }),
                       "rank 0 holds two replicas of stage 0; running that is not supported"));
}

}  // namespace
}  // namespace halfback
