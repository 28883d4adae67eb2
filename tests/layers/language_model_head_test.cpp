#include "halfback/layers/language_model_head.h"

#include "tests/support/layer_cases.h"
#include "tests/support/layer_references.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace halfback {
namespace {

constexpr std::int64_t kVocabulary = 7;
constexpr double kEpsilon = 0.02;

class LanguageModelHeadTest : public testing::Test {
 protected:
  void SetUp() override { give_memory(head_.parameters(), at::kDouble, random_); }

  Random random_;
  LanguageModelHead head_{{.num_channels = 6, .vocabulary = kVocabulary, .epsilon = kEpsilon}};
};

TEST_F(LanguageModelHeadTest, ReturnsTheLogits) {
  const at::Tensor input = random_.normal({2, 3, 6}, at::kDouble);
  const at::Tensor expected = logits_reference(
      {head_.parameters()[0]->value, head_.parameters()[1]->value}, input, kEpsilon);
  EXPECT_LT(relative_error(head_.logits(input), expected), 1e-12);
}

TEST_F(LanguageModelHeadTest, SumsTheLossAndDividesNothing) {
  head_.parameters()[1]->value.zero_();  // all logits 0
  Saved saved;
  const double loss = head_.forward(random_.normal({2, 3, 6}, at::kDouble),
                                    some_targets(6, kVocabulary), saved, {});
  EXPECT_NEAR(loss, 6.0 * std::log(7.0), 1e-12);
}

TEST_F(LanguageModelHeadTest, IsLinearInTheScale) {
  const at::Tensor input = random_.normal({2, 3, 6}, at::kDouble);
  const at::Tensor targets = some_targets(6, kVocabulary);
  const auto gradient = [&](double scale) {
    Saved saved;
    head_.forward(input, targets, saved, {});
    return head_.backward_input(scale, saved, {});
  };
  EXPECT_LT(relative_error(gradient(0.125), gradient(1.0).mul(0.125)), 1e-14);
}

// Three micro-batches in flight, each with targets of its own.
TEST_F(LanguageModelHeadTest, KeepsTheTargetsOfEachMicroBatch) {
  constexpr std::size_t kNumMicroBatches = 3;
  std::vector<at::Tensor> inputs;
  std::vector<at::Tensor> targets;
  std::vector<at::Tensor> expected;
  for (std::size_t i = 0; i < kNumMicroBatches; ++i) {
    inputs.push_back(random_.normal({2, 2, 6}, at::kDouble));
    targets.push_back(random_.ids({2, 2}, kVocabulary));
    Saved saved;
    head_.forward(inputs[i], targets[i], saved, {});
    expected.push_back(head_.backward_input(1.0, saved, {}));
  }
  std::vector<Saved> saved(kNumMicroBatches);
  for (std::size_t i = 0; i < kNumMicroBatches; ++i) {
    head_.forward(inputs[i], targets[i], saved[i], {});
  }
  for (std::size_t i = 0; i < kNumMicroBatches; ++i) {
    EXPECT_TRUE(same_bits(head_.backward_input(1.0, saved[i], {}), expected[i])) << i;
  }
}

}  // namespace
}  // namespace halfback
