#include "halfback/layers/similarity_loss.h"

#include "halfback/layers/convolution.h"
#include "halfback/layers/pooling.h"
#include "tests/support/image_references.h"
#include "tests/support/layer_checks.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

namespace halfback {
namespace {

struct Outcome {
  double loss = 0.0;
  at::Tensor gradient;
};

Outcome run(const at::Tensor& input, const at::Tensor& targets, std::int64_t num_classes) {
  SimilarityLoss layer(std::make_unique<Flatten>(), num_classes);
  Saved saved;
  Outcome found;
  found.loss = layer.forward(input, targets, saved, {});
  EXPECT_EQ(layer.num_correct(saved), 0);
  found.gradient = layer.backward_input(1.0, saved, {});
  EXPECT_TRUE(saved.is_empty());
  return found;
}

TEST(SimilarityLossTest, IsZeroForTheClassesThemselves) {
  const at::Tensor targets = at::tensor({2, 0, 1, 2}, at::kLong);
  const at::Tensor input = at::one_hot(targets, 3).to(at::kDouble).mul(5.0).add(1.0);
  EXPECT_NEAR(run(input, targets, 3).loss, 0.0, 1e-12);
}

// Two classes have similarity -1, the rows +1: two of four pairs have an error of 4, times N.
TEST(SimilarityLossTest, IsTheMeanOverPairsTimesTheSamples) {
  const at::Tensor input = at::tensor({1.0, 2.0, 3.0, 4.0, 6.0, 8.0}).view({2, 3});
  const at::Tensor targets = at::tensor({0, 1}, at::kLong);
  EXPECT_NEAR(run(input, targets, 2).loss, 2.0 * (4.0 + 4.0) / 4.0, 1e-6);
  EXPECT_NEAR(run(input, at::tensor({1, 1}, at::kLong), 2).loss, 0.0, 1e-6);
}

TEST(SimilarityLossTest, LeavesOutSamplesWithoutATarget) {
  Random random;
  const at::Tensor input = random.normal({5, 4}, at::kDouble);
  const Outcome found = run(input, at::tensor({1, -1, 0, 2, -100}, at::kLong), 3);
  const at::Tensor rest = at::tensor({0, 2, 3}, at::kLong);
  const Outcome expected = run(input.index_select(0, rest), at::tensor({1, 0, 2}, at::kLong), 3);
  EXPECT_NEAR(found.loss, expected.loss, 1e-12);
  EXPECT_LT(relative_error(found.gradient.index_select(0, rest), expected.gradient), 1e-12);
  const at::Tensor others = at::tensor({1, 4}, at::kLong);
  EXPECT_TRUE(found.gradient.index_select(0, others).eq(0.0).all().item<bool>());
}

TEST(SimilarityLossTest, HasNoLossWithoutTargets) {
  Random random;
  const Outcome found = run(random.normal({2, 3}, at::kFloat), at::tensor({-1, -1}, at::kLong), 3);
  EXPECT_EQ(found.loss, 0.0);
  EXPECT_TRUE(found.gradient.eq(0.0).all().item<bool>());
}

// As after a layer whose ReLU lets nothing of a sample through: autograd's gradient is NaN.
TEST(SimilarityLossTest, ARowOfEqualValuesHasNoGradient) {
  Random random;
  const at::Tensor input = random.normal({4, 3}, at::kFloat);
  input[1].fill_(0.5);
  const at::Tensor targets = at::tensor({0, 1, 1, 2}, at::kLong);
  const Outcome found = run(input, targets, 3);
  EXPECT_NEAR(found.loss, similarity_reference(input, targets, 3).item<double>(), 1e-6);
  EXPECT_TRUE(found.gradient.isfinite().all().item<bool>());
  EXPECT_TRUE(found.gradient[1].eq(0.0).all().item<bool>());
  EXPECT_TRUE(found.gradient[0].ne(0.0).any().item<bool>());
}

TEST(SimilarityLossTest, PixelsOfOneValueHaveNoGradient) {
  Random random;
  auto map =
      std::make_unique<Convolution>("map", Convolution::Options{.num_inputs = 3, .num_outputs = 3});
  give_memory(map->parameters(), at::kFloat, random);
  map->parameters().front()->value.copy_(at::eye(3).view({3, 3, 1, 1}));
  SimilarityLoss layer(std::move(map), 3);
  const at::Tensor images = random.normal({3, 3, 2, 2}, at::kFloat);
  images[0][1].zero_();
  Saved saved;
  layer.forward(images, at::tensor({0, 1, 2}, at::kLong), saved, {});
  const at::Tensor gradient = layer.backward_input(1.0, saved, {});
  EXPECT_TRUE(gradient.isfinite().all().item<bool>());
  EXPECT_TRUE(gradient[0][1].eq(0.0).all().item<bool>());
  EXPECT_TRUE(gradient[0][0].ne(0.0).any().item<bool>());
}

}  // namespace
}  // namespace halfback
