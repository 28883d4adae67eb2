#include "halfback/simulate/memory_model.h"

#include "halfback/schedule/communication.h"
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
    const Schedule schedule = add_communication(testing::family_or_on_four(name, 5));
    const MemoryModel model = same_stages(schedule.num_stages());
    for (const Bytes& curve : predict_memory(schedule, model).curve) {
      EXPECT_EQ(curve.back(), 0) << name;
    }
  }
}

TEST(MemoryModelTest, PeaksAreThoseOfHeldMicroBatches) {
  MemoryModel model{std::vector<StageBytes>(4, StageBytes{.until_weight = 1})};
  EXPECT_EQ(predict_memory(testing::family("1f1b-2-flush", 4), model).peak, (Bytes{7, 6, 5, 4}));
}

TEST(MemoryModelTest, PartsSayWhatIsHeldForWhat) {
  const Schedule schedule = add_communication(testing::family("naive", 3));
  // 1RECV_F0 1F0 1SEND_F0 1RECV_B0 1I0 1SEND_B0 1W0
  const std::vector<MemoryParts> parts = memory_parts(schedule, same_stages(3))[1];
  ASSERT_EQ(parts.size(), 7U);
  EXPECT_EQ(parts[0], (MemoryParts{.messages = 1000}));
  EXPECT_EQ(parts[1], (MemoryParts{.until_input = 1, .until_weight = 10, .messages = 1000}));
  EXPECT_EQ(parts[2], (MemoryParts{.until_input = 1, .until_weight = 10}));
  EXPECT_EQ(parts[4], (MemoryParts{.until_weight = 10, .gradients = 100, .messages = 10000}));
  EXPECT_EQ(parts[6], MemoryParts{});
}

TEST(MemoryModelTest, PartsAddUpToTheCurveAndToThePeak) {
  for (const std::string& name : family_names()) {
    const Schedule schedule = add_communication(testing::family_or_on_four(name, 3));
    const MemoryModel model = same_stages(schedule.num_stages());
    const MemoryPrediction prediction = predict_memory(schedule, model);
    const auto parts = memory_parts(schedule, model);
    for (std::size_t rank = 0; rank < parts.size(); ++rank) {
      Bytes totals;
      for (const MemoryParts& part : parts[rank]) {
        totals.push_back(part.total());
      }
      EXPECT_EQ(totals, prediction.curve[rank]) << name;
      EXPECT_EQ(prediction.at_peak[rank].total(), prediction.peak[rank]) << name;
    }
  }
}

TEST(MemoryModelTest, ConstantMemoryIsOfAllCopiesOnARank) {
  const Schedule schedule = testing::parse(
      "# halfback schedule micro_batches=2 placement=0,1|1,0 replicas=0,1\n"
      "0F0,1F1,1B1,0B0\n0F1,1F0,1B0,0B1\n");
  MemoryModel model = same_stages(2);
  EXPECT_EQ(constant_memory(schedule, model)[0], StateBytes{});
  model.states = {{.parameters = 1, .gradients = 2, .optimizer = 3},
                  {.parameters = 10, .gradients = 20, .optimizer = 30}};
  const StateBytes both{.parameters = 11, .gradients = 22, .optimizer = 33};
  EXPECT_EQ(constant_memory(schedule, model), (std::vector<StateBytes>{both, both}));
  EXPECT_EQ(both.total(), 66);
  model.states.resize(3);
  EXPECT_TRUE(testing::has_text(testing::error_of([&] { constant_memory(schedule, model); }),
                                "parameters of 3 stages for a schedule of 2"));
}

TEST(MemoryModelTest, OneStageStandsForAll) {
  const Schedule schedule = testing::family("gpipe", 3);
  EXPECT_EQ(predict_memory(schedule, same_stages(1)).curve,
            predict_memory(schedule, same_stages(3)).curve);
}

TEST(MemoryModelTest, RefusesAnotherNumberOfStages) {
  EXPECT_TRUE(testing::has_text(
      testing::error_of([] { predict_memory(testing::family("gpipe", 4), same_stages(3)); }),
      "bytes of 3 stages for a schedule of 4"));
}

}  // namespace
}  // namespace halfback
