#include "halfback/views/findings.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/validate.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

Schedule zb_v(ChannelRule rule) {
  return with_messages(build_schedule("zb-v", {.num_ranks = 4, .num_micro_batches = 8}), rule);
}

TEST(FindingsTest, FindsTheSmallestCapacityAndWhatStreamsDo) {
  const ChannelFindings buffered = find_channels(zb_v(kBuffered));
  EXPECT_EQ(buffered.smallest_capacity, 2);
  EXPECT_FALSE(buffered.runs_nccl_pair);
  const ChannelFindings rendezvous = find_channels(zb_v(kRendezvous));
  EXPECT_EQ(rendezvous.smallest_capacity, 0);
  EXPECT_TRUE(rendezvous.runs_nccl);
  EXPECT_TRUE(rendezvous.runs_nccl_pair);
}

// The second rank wants the gradient's way back first; a stream lets it post that and continue.
TEST(FindingsTest, SaysWhenOnlyStreamsLetItRun) {
  const Schedule schedule = parse_schedule(
      "0F0,0SEND_F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n"
      "# both directions at once\n",
      "test");
  EXPECT_EQ(find_channels(schedule).smallest_capacity, 0);
  const Schedule early =
      parse_schedule("0RECV_B0,0F0,0SEND_F0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n", "test");
  EXPECT_EQ(find_channels(early).smallest_capacity, std::nullopt);
  EXPECT_TRUE(find_channels(early).runs_nccl);
}

TEST(FindingsTest, CountsSendsOnce) {
  EXPECT_EQ(count_sends(zb_v(kBuffered)), 8 * 2 * 6);
  EXPECT_EQ(count_sends(build_schedule("zb-v", {.num_ranks = 4, .num_micro_batches = 8})), 0);
}

TEST(FindingsTest, PricesStageZeroAsPyTorchRunsIt) {
  const Schedule schedule = build_schedule("zb-h1", {.num_ranks = 4, .num_micro_batches = 8});
  const TorchFindings findings = find_for_torch(schedule, to_csv(schedule, CsvDialect::Torch));
  EXPECT_TRUE(findings.faults.empty());
  EXPECT_EQ(findings.step, 27.0);
  EXPECT_GE(findings.step_there, findings.step);
  EXPECT_EQ(name_of(TorchFinding::Kind::Refused), "refused");
  EXPECT_EQ(name_of(TorchFinding::Kind::Wrong), "wrong");
}

}  // namespace
}  // namespace halfback
