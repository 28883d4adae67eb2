// Loops over images: values that are not numbers, ties, and the same bits on every number of
// threads.
#include "halfback/kernels/images.h"

#include "halfback/layers/pooling.h"
#include "halfback/layers/relu.h"
#include "tests/support/layer_checks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/max_pool2d_with_indices.h>
#include <ATen/ops/max_pool2d_with_indices_backward.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace halfback {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(ReluTest, LetsNaNThroughBothWays) {
  Relu relu;
  Saved saved;
  const at::Tensor y = forward_of(relu, at::tensor({-1.0F, kNaN, 0.0F, 2.0F}), saved);
  EXPECT_EQ(y[0].item<float>(), 0.0F);
  EXPECT_TRUE(std::isnan(y[1].item<float>()));
  EXPECT_EQ(y[3].item<float>(), 2.0F);
  const at::Tensor g = input_gradient_of(relu, at::tensor({5.0F, 6.0F, 7.0F, 8.0F}), saved);
  EXPECT_TRUE(g.equal(at::tensor({0.0F, 6.0F, 0.0F, 8.0F})));
}

TEST(ReluTest, HasABitForEveryElement) {
  for (std::int64_t count = 1; count < 40; ++count) {
    Random random(static_cast<std::uint64_t>(count));
    const at::Tensor x = random.normal({count}, at::kFloat);
    const Relu::Passed passed = Relu::apply(x, {});
    EXPECT_EQ(passed.mask.numel(), (count + 7) / 8);
    EXPECT_TRUE(passed.output.equal(x.clamp_min(0.0)));
    EXPECT_TRUE(Relu::backward(at::ones({count}), passed.mask).equal(x.gt(0.0).to(at::kFloat)));
  }
}

// Rounded, so that windows have ties.
at::Tensor image_with_ties() { return Random().normal({2, 3, 11, 10}, at::kFloat).round(); }

TEST(MaxPoolTest, EqualsTorchsWhereWindowsOverlapAndTie) {
  for (const kernels::PoolWindow window :
       {kernels::PoolWindow{.size = 3, .stride = 2, .padding = 1},
        kernels::PoolWindow{.size = 3, .stride = 1, .padding = 0},
        kernels::PoolWindow{.size = 4, .stride = 2, .padding = 2},
        kernels::PoolWindow{.size = 2, .stride = 3, .padding = 1}}) {
    MaxPool pool(window);
    Saved saved;
    at::Tensor x = image_with_ties();
    x[0][1][4][5] = kNaN;
    x[1][2].fill_(-std::numeric_limits<float>::infinity());
    const at::Tensor y = forward_of(pool, x, saved);
    const auto [expected, places] =
        at::max_pool2d_with_indices(x, window.size, window.stride, window.padding);
    EXPECT_TRUE(y.nan_to_num(77.0).equal(expected.nan_to_num(77.0)));
    const at::Tensor g = Random(3).normal(y.sizes(), at::kFloat);
    const at::Tensor expected_gradient = at::max_pool2d_with_indices_backward(
        g, x, window.size, window.stride, window.padding, 1, false, places);
    EXPECT_LT(relative_error(input_gradient_of(pool, g, saved), expected_gradient), 1e-6);
  }
}

// Each pixel that wins in four windows gets four gradients.
TEST(MaxPoolTest, OverlappingWindowsAddUp) {
  MaxPool pool({.size = 3, .stride = 2, .padding = 1});
  at::Tensor x = at::ones({1, 1, 5, 5}).neg();
  x[0][0][1][1] = 4.0F;
  Saved saved;
  EXPECT_EQ(forward_of(pool, x, saved).gt(0.0).sum().item<std::int64_t>(), 4);
  const at::Tensor gradient = input_gradient_of(pool, at::ones({1, 1, 3, 3}), saved);
  EXPECT_EQ(gradient[0][0][1][1].item<float>(), 4.0F);
  EXPECT_EQ(gradient.sum().item<float>(), 9.0F);
}

// Everything that these kernels write, one after the other.
std::vector<at::Tensor> run_all(const at::Tensor& x, const at::Tensor& g) {
  const std::int64_t channels = x.size(1);
  at::Tensor mean = at::empty({channels}, x.options());
  at::Tensor variance = at::empty({channels}, x.options());
  at::Tensor grad_weight = at::empty({channels}, x.options());
  at::Tensor grad_bias = at::empty({channels}, x.options());
  at::Tensor y = at::empty_like(x);
  at::Tensor grad_x = at::empty_like(x);
  at::Tensor means = at::empty({x.size(0), channels}, x.options());
  kernels::channel_statistics(x, mean, variance);
  const at::Tensor ones = at::ones({channels}, x.options());
  const kernels::BatchNormTerms terms{
      .mean = mean, .variance = variance, .weight = ones, .bias = ones, .has_relu = true};
  kernels::batch_norm(terms, x, y);
  kernels::batch_norm_backward(terms, {.input = x,
                                       .grad_output = g,
                                       .grad_input = grad_x,
                                       .grad_weight = grad_weight,
                                       .grad_bias = grad_bias});
  kernels::mean_of_pixels(x, means);
  const Relu::Passed passed = Relu::apply(x, g);
  MaxPool pool({.size = 3, .stride = 2, .padding = 1});
  Saved saved;
  const at::Tensor pooled = forward_of(pool, x, saved);
  return {mean,   variance,      y,           grad_x,
          means,  grad_weight,   grad_bias,   Relu::backward(g, passed.mask),
          pooled, passed.output, passed.mask, input_gradient_of(pool, pooled, saved)};
}

TEST(ImageKernelsTest, HaveTheSameBitsOnEveryNumberOfThreads) {
  Random random;
  const at::Tensor x = random.normal({3, 7, 61, 67}, at::kFloat);
  const at::Tensor g = random.normal({3, 7, 61, 67}, at::kFloat);
  const std::vector<at::Tensor> expected = run_all(x, g);
  for (const int count : {1, 2, 3, 5}) {
    const Threads threads(count);
    const std::vector<at::Tensor> found = run_all(x, g);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(same_bits(found[i], expected[i])) << i << " on " << count << " threads";
    }
  }
}

}  // namespace
}  // namespace halfback
