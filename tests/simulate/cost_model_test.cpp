#include "halfback/simulate/cost_model.h"

#include "tests/support/schedules.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace halfback
