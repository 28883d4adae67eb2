#include "halfback/layers/classifier_head.h"

#include "tests/support/layer_checks.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

namespace halfback {
namespace {

// Of inputs that are one in one channel each.
std::int64_t num_correct(ClassifierHead& head, const at::Tensor& targets) {
  Saved saved;
  head.forward(at::eye(3), targets, saved, {});
  return head.num_correct(saved);
}

TEST(ClassifierHeadTest, CountsTheTargetsWithTheLargestLogit) {
  Random random;
  ClassifierHead head("fc", {.num_channels = 3, .num_classes = 3});
  give_memory(head.parameters(), at::kFloat, random);
  head.parameters()[0]->value.copy_(at::eye(3));
  head.parameters()[1]->value.zero_();
  EXPECT_EQ(num_correct(head, at::tensor({0, 1, 2}, at::kLong)), 3);
  EXPECT_EQ(num_correct(head, at::tensor({0, 2, 2}, at::kLong)), 2);
  EXPECT_EQ(num_correct(head, at::tensor({2, 0, 1}, at::kLong)), 0);
  head.parameters()[1]->value.copy_(at::tensor({0.0F, 9.0F, 0.0F}));
  EXPECT_EQ(num_correct(head, at::tensor({1, 1, 2}, at::kLong)), 2);
}

TEST(ClassifierHeadTest, SumsTheLossAndDividesNothing) {
  Random random;
  ClassifierHead head("fc", {.num_channels = 2, .num_classes = 4});
  give_memory(head.parameters(), at::kDouble, random);
  const at::Tensor input = random.normal({6, 2}, at::kDouble);
  const at::Tensor targets = at::tensor({0, 1, 2, 3, 0, 1}, at::kLong);
  Saved whole;
  double sum = 0.0;
  for (std::int64_t i = 0; i < 6; ++i) {
    Saved one;
    sum += head.forward(input.narrow(0, i, 1), targets.narrow(0, i, 1), one, {});
  }
  EXPECT_NEAR(head.forward(input, targets, whole, {}), sum, 1e-12);
}

}  // namespace
}  // namespace halfback
