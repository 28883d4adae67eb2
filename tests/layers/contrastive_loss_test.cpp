#include "halfback/layers/contrastive_loss.h"

#include "tests/support/image_references.h"
#include "tests/support/layer_checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

namespace halfback {
namespace {

constexpr double kTemperature = 0.3;

at::Tensor no_targets(at::IntArrayRef) { return {}; }

struct Outcome {
  double loss = 0.0;
  std::int64_t num_correct = 0;
  at::Tensor gradient;
};

Outcome run(const at::Tensor& input, double temperature = kTemperature) {
  ContrastiveLoss layer(temperature);
  Saved saved;
  Outcome found;
  found.loss = layer.forward(input, {}, saved, {});
  found.num_correct = layer.num_correct(saved);
  found.gradient = layer.backward_input(1.0, saved, {});
  EXPECT_TRUE(saved.is_empty());
  return found;
}

// Two images in directions at a right angle, their views alike: of the three others, the partner
// has the similarity 1 and the rest 0.
TEST(ContrastiveLossTest, IsTheSumOfCrossEntropiesOverTheOtherViews) {
  const at::Tensor views = at::tensor({2.0, 0.0, 0.0, 3.0, 0.5, 0.0, 0.0, 1.0}).view({4, 2});
  const Outcome found = run(views, 0.5);
  EXPECT_NEAR(found.loss, 4.0 * (std::log(std::exp(2.0) + 2.0) - 2.0), 1e-6);
  EXPECT_EQ(found.num_correct, 4);
  EXPECT_NEAR(run(views, 1.0).loss, 4.0 * (std::log(std::exp(1.0) + 2.0) - 1.0), 1e-6);
}

// The views of the second image are nearest to those of others.
TEST(ContrastiveLossTest, CountsViewsThatAreNearestToTheirPartner) {
  const at::Tensor views =
      at::tensor({1.0, 0.0, 0.0, 1.0, 1.0, 0.1, 1.0, -0.2}, at::kDouble).view({4, 2});
  EXPECT_EQ(run(views).num_correct, 2);
}

TEST(ContrastiveLossTest, OneImageHasNoNegativesAndNoLoss) {
  Random random;
  const Outcome found = run(random.normal({2, 3}, at::kFloat));
  EXPECT_EQ(found.loss, 0.0);
  EXPECT_TRUE(found.gradient.abs().max().item<double>() < 1e-6);
}

TEST(ContrastiveLossTest, LengthsDoNotCount) {
  Random random;
  const at::Tensor views = random.normal({6, 5}, at::kDouble);
  const Outcome found = run(views);
  EXPECT_NEAR(run(views.mul(7.0)).loss, found.loss, 1e-6);
  EXPECT_LT(found.gradient.mul(views).sum(1).abs().max().item<double>(), 1e-7);
}

TEST(ContrastiveLossTest, GradientEqualsAutogradAndFiniteDifferences) {
  for (const std::int64_t num_images : {1, 2, 5}) {
    LossAsLayer layer(std::make_unique<ContrastiveLoss>(kTemperature), no_targets);
    Random random;
    const at::Tensor input = random.normal({2 * num_images, 4}, at::kDouble);
    const at::Tensor before = input.clone();
    const at::Tensor scale = at::scalar_tensor(0.5, at::TensorOptions(at::kDouble));
    const Results found = run_layer(layer, input, scale);
    EXPECT_TRUE(same_bits(input, before));
    const Results expected = run_autograd(
        [](const auto&, const at::Tensor& x) { return contrastive_reference(x, kTemperature); }, {},
        input, scale);
    const at::Tensor numeric = numeric_gradient([&] { return 0.5 * run(input).loss; }, input);
    if (num_images == 1) {
      EXPECT_LT(found.grad_input.abs().max().item<double>(), 1e-12);
      continue;
    }
    EXPECT_LT(relative_error(found.output, expected.output), 1e-7);
    EXPECT_LT(relative_error(found.grad_input, expected.grad_input), 1e-7);
    EXPECT_LT(relative_error(found.grad_input, numeric), 1e-6);
  }
}

TEST(ContrastiveLossTest, SinglePrecisionIsNearDouble) {
  Random random;
  const at::Tensor views = random.normal({16, 8}, at::kDouble);
  const Outcome expected = run(views, 0.01);  // exponents that a float clamps
  const Outcome found = run(views.to(at::kFloat), 0.01);
  EXPECT_NEAR(found.loss, expected.loss, 1e-4 * expected.loss);
  EXPECT_LT(relative_error(found.gradient.to(at::kDouble), expected.gradient), 1e-3);
}

// As after a layer whose ReLU lets nothing through.
TEST(ContrastiveLossTest, ARowOfZerosHasNoGradient) {
  Random random;
  const at::Tensor views = random.normal({6, 3}, at::kFloat);
  views[1].zero_();
  const Outcome found = run(views);
  EXPECT_TRUE(std::isfinite(found.loss));
  EXPECT_TRUE(found.gradient.isfinite().all().item<bool>());
  EXPECT_TRUE(found.gradient[1].eq(0.0).all().item<bool>());
  EXPECT_TRUE(found.gradient[0].ne(0.0).any().item<bool>());
}

TEST(ContrastiveLossTest, RowsComeInPairs) {
  Random random;
  EXPECT_THROW(run(random.normal({3, 2}, at::kFloat)), std::logic_error);
}

}  // namespace
}  // namespace halfback
