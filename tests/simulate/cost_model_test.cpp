#include "halfback/simulate/cost_model.h"

#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;

TEST(CostModelTest, ReadsThreeOrFourNumbers) {
  const StageCost cost = parse_costs("1, 2.5,0.5").stage(7);
  EXPECT_EQ(cost.of(ActionKind::Forward), 1.0);
  EXPECT_EQ(cost.of(ActionKind::BackwardInput), 2.5);
  EXPECT_EQ(cost.of(ActionKind::BackwardWeight), 0.5);
  EXPECT_EQ(cost.of(ActionKind::Backward), 3.0);
  EXPECT_EQ(cost.of(ActionKind::SendForward), 0.0);
  EXPECT_EQ(parse_costs("1,2,3,4").stage(0).of(ActionKind::Backward), 4.0);
}

TEST(CostModelTest, RefusesOtherText) {
  for (const char* text : {"", "1,1", "1,1,1,1,1", "1,x,1", "1,-1,1", "1,nan,1", "inf,1,1"}) {
    EXPECT_TRUE(has_text(error_of([&] { parse_costs(text); }), "cost: ")) << text;
  }
}

TEST(CostModelTest, FileRoundTrips) {
  CostModel model{.stages = {{.forward = 0.1, .input = 0.2, .weight = 0.3, .full = 0.4},
                             {.forward = 1.0 / 3.0, .update = 2.0}},
                  .latency = 0.01};
  const auto path = std::filesystem::temp_directory_path() / "halfback_cost_test.json";
  save_costs(model, path);
  const CostModel read = load_costs(path);
  std::filesystem::remove(path);
  ASSERT_EQ(read.stages.size(), 2U);
  EXPECT_EQ(read.stages[0].full, 0.4);
  EXPECT_EQ(read.stages[1].forward, 1.0 / 3.0);
  EXPECT_EQ(read.stages[1].update, 2.0);
  EXPECT_FALSE(read.stages[1].full);
  EXPECT_EQ(read.latency, 0.01);
  EXPECT_TRUE(has_text(error_of([&] { load_costs(path); }), "cannot be read"));
}

TEST(CostModelTest, FileFaultsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "c.json: not valid JSON"},
      {"[]", "c.json: expected an object"},
      {"{}", "stages is missing"},
      {R"({"stages":[{"forward":1,"input":1}]})", "stage 0: weight is missing"},
      {R"({"stages":[{"forward":1,"input":1,"weigth":1}]})", "did you mean weight?"},
      {R"({"stages":[{"forward":-1,"input":1,"weight":1}]})", "forward is -1"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_TRUE(has_text(error_of([&] { parse_cost_file(text, "c.json"); }), expected)) << text;
  }
}

}  // namespace
}  // namespace halfback
