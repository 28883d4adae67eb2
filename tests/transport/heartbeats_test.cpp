#include "halfback/transport/heartbeats.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using Seconds = Heartbeats::Seconds;

TEST(HeartbeatsTest, WhoSaysTheSameForLongerThanTheTimeoutIsReported) {
  Heartbeats heartbeats({"process 0", "process 1"});
  for (int i = 0; i < 4; ++i) {
    heartbeats.hear(0, std::to_string(i) + " here", Seconds(1));
    heartbeats.hear(1, "7 rank 2: position 3", Seconds(i == 0 ? 0 : 1));
  }
  EXPECT_EQ(heartbeats.report_of_silence(Seconds(3)), std::nullopt);
  EXPECT_EQ(heartbeats.report_of_silence(Seconds(2)),
            "process 1 has sent no heartbeat for 2 s; last known position: rank 2: position 3");
  EXPECT_EQ(heartbeats.with_positions("boom"),
            "boom\n  process 0: here\n  process 1: rank 2: position 3; no heartbeat for 3 s");
}

TEST(HeartbeatsTest, WhoHasNeverBeatenIsJoining) {
  Heartbeats heartbeats({"process 0"});
  heartbeats.hear(0, kFirstHeartbeat, Seconds(2));
  EXPECT_EQ(heartbeats.report_of_silence(Seconds(1)),
            "process 0 has sent no heartbeat for 1 s; last known position: joining");
}

TEST(HeartbeatsTest, WhoHasLeftMayBeSilent) {
  Heartbeats heartbeats({"process 0"});
  EXPECT_FALSE(heartbeats.has_left(0));
  heartbeats.hear(0, kLastHeartbeat, Seconds(0));
  heartbeats.hear(0, kLastHeartbeat, Seconds(9));
  EXPECT_TRUE(heartbeats.has_left(0));
  EXPECT_EQ(heartbeats.report_of_silence(Seconds(1)), std::nullopt);
}

}  // namespace
}  // namespace halfback
