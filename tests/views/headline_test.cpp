#include "halfback/views/headline.h"

#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

TEST(HeadlineTest, CountsAndNamesTheBackward) {
  const Schedule one =
      build_schedule("1f1b", {.num_ranks = 1, .num_micro_batches = 1, .two_stage = false});
  EXPECT_EQ(headline(one), one.name + ": 1 rank, 1 stage, 1 micro-batch, fused backward");
  const Schedule two =
      data_parallel(build_schedule("zb-v", {.num_ranks = 2, .num_micro_batches = 2}), 2);
  EXPECT_NE(headline(two).find(": 4 ranks, 4 stages, "), std::string::npos) << headline(two);
  EXPECT_NE(headline(two).find("2 replicas, split backward"), std::string::npos) << headline(two);
}

TEST(HeadlineTest, NamesLossesInsideTheModel) {
  const Schedule greedy = build_schedule("local-greedy", {.num_ranks = 2, .num_micro_batches = 2});
  EXPECT_NE(headline(greedy).find(", losses 0:0,1:1"), std::string::npos) << headline(greedy);
}

}  // namespace
}  // namespace halfback
