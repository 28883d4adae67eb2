#include "halfback/simulate/memory_model.h"

#include "halfback/schedule/passes.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

using Bytes = std::vector<std::int64_t>;

MemoryModel same_stages(int count) {
  const StageBytes bytes{.until_input = 1,
                         .until_weight = 10,
                         .gradients = 100,
                         .activation_message = 1000,
                         .gradient_message = 10000};
  return {std::vector<StageBytes>(static_cast<std::size_t>(count), bytes)};
}

TEST(MemoryModelTest, FollowsTheListStepByStep) {
  const auto curve =
      predict_memory(testing::parse("0F0,0F1,0I0,0W0,0B1\n"), same_stages(1)).curve[0];
  EXPECT_EQ(curve, (Bytes{11, 22, 121, 11, 0}));
}

TEST(MemoryModelTest, MessagesCountFromTheirMakingToTheirSendAndFromReceiveToUse) {
  const Schedule schedule = add_communication(testing::family("naive", 3));
  // 1RECV_F0 1F0 1SEND_F0 1RECV_B0 1I0 1SEND_B0 1W0
  EXPECT_EQ(predict_memory(schedule, same_stages(3)).curve[1],
            (Bytes{1000, 1011, 11, 10011, 10110, 110, 0}));
}

TEST(MemoryModelTest, TensorsBetweenStagesOfOneRankCountTheSame) {
  const Schedule schedule = testing::parse("0F0,1F0,1I0,1W0,0I0,0W0\n");
  EXPECT_EQ(predict_memory(schedule, same_stages(2)).curve[0],
            (Bytes{1011, 22, 10121, 10011, 110, 0}));
}

TEST(MemoryModelTest, EverythingIsFreedAtTheEnd) {
  for (const std::string& name : family_names()) {
    const Schedule schedule = add_communication(testing::family(name, 5));
    for (const Bytes& curve : predict_memory(schedule, same_stages(5)).curve) {
      EXPECT_EQ(curve.back(), 0) << name;
    }
  }
}

TEST(MemoryModelTest, PeaksAreThoseOfHeldMicroBatches) {
  MemoryModel model{std::vector<StageBytes>(4, StageBytes{.until_weight = 1})};
  EXPECT_EQ(predict_memory(testing::family("1f1b-2-flush", 4), model).peak, (Bytes{7, 6, 5, 4}));
}

TEST(MemoryModelTest, RefusesAnotherNumberOfStages) {
  EXPECT_TRUE(testing::has_text(
      testing::error_of([] { predict_memory(testing::family("gpipe", 4), same_stages(3)); }),
      "bytes of 3 stages for a schedule of 4"));
}

}  // namespace
}  // namespace halfback
