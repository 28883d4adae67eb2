// The loops over images against the same by ATen's operators.
#include "halfback/kernels/generic_images.h"

#include "tests/support/layer_checks.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>

namespace halfback::kernels {
namespace {

class GenericImageKernelTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  double tolerance() const { return dtype_ == at::kDouble ? 1e-13 : 2e-6; }
  at::Tensor normal(at::IntArrayRef shape) { return random_.normal(shape, dtype_); }

  at::ScalarType dtype_ = GetParam();
  Random random_;
};

TEST_P(GenericImageKernelTest, BatchNormEqualsTheLoops) {
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{3, 5, 7, 9}, {1, 1, 2, 1}, {4, 3}, {2, 3, 8}}) {
    const at::Tensor x = normal(shape).add_(2.0);
    const std::int64_t channels = shape[1];
    const at::Tensor weight = normal({channels});
    const at::Tensor bias = normal({channels});
    const auto numbers = [&] { return at::zeros({channels}, dtype_); };
    at::Tensor mean = numbers();
    at::Tensor variance = numbers();
    at::Tensor found_mean = numbers();
    at::Tensor found_variance = numbers();
    channel_statistics(x, mean, variance);
    generic::channel_statistics(x, found_mean, found_variance);
    EXPECT_LT(relative_error(found_mean, mean), tolerance());
    EXPECT_LT(relative_error(found_variance, variance), tolerance());
    const at::Tensor g = normal(shape);
    for (const bool has_relu : {false, true}) {
      const BatchNormTerms terms{mean, variance, weight, bias, 1e-5, has_relu};
      at::Tensor expected = at::empty_like(x);
      at::Tensor found = at::empty_like(x);
      batch_norm(terms, x, expected);
      generic::batch_norm(terms, x, found);
      EXPECT_LT(relative_error(found.add(1), expected.add(1)), tolerance());
      at::Tensor grad_weight = numbers();
      at::Tensor grad_bias = numbers();
      at::Tensor found_weight = numbers();
      at::Tensor found_bias = numbers();
      batch_norm_backward(terms, {x, g, expected, grad_weight, grad_bias});
      generic::batch_norm_backward(terms, {x, g, found, found_weight, found_bias});
      EXPECT_LT(relative_error(found.add(1), expected.add(1)), tolerance());
      EXPECT_LT(relative_error(found_weight.add(1), grad_weight.add(1)), tolerance());
      EXPECT_LT(relative_error(found_bias.add(1), grad_bias.add(1)), tolerance());
    }
  }
}

TEST_P(GenericImageKernelTest, ReluHasTheBitsOfTheLoops) {
  for (std::int64_t count = 1; count < 40; ++count) {
    at::Tensor x = normal({count});
    x[count / 2] = std::numeric_limits<double>::quiet_NaN();
    const at::Tensor added = normal({count});
    for (const at::Tensor& more : {at::Tensor(), added}) {
      at::Tensor expected = at::empty_like(x);
      at::Tensor found = at::empty_like(x);
      at::Tensor mask = at::empty({mask_bytes(count)}, at::kByte);
      at::Tensor found_mask = at::empty_like(mask);
      relu(x, more, expected, mask);
      generic::relu(x, more, found, found_mask);
      EXPECT_TRUE(same_bits(found_mask, mask)) << count;
      EXPECT_TRUE(same_bits(found.nan_to_num(77.0), expected.nan_to_num(77.0))) << count;
      relu_backward(added, mask, expected);
      generic::relu_backward(added, mask, found);
      EXPECT_TRUE(same_bits(found, expected)) << count;
    }
  }
}

TEST_P(GenericImageKernelTest, MaxPoolHasTheBitsOfTheLoops) {
  for (const PoolWindow window : {PoolWindow{.size = 3, .stride = 2, .padding = 1},
                                  PoolWindow{.size = 3, .stride = 1, .padding = 0},
                                  PoolWindow{.size = 4, .stride = 2, .padding = 2},
                                  PoolWindow{.size = 2, .stride = 3, .padding = 1},
                                  PoolWindow{.size = 1, .stride = 1, .padding = 0}}) {
    at::Tensor x = normal({2, 3, 11, 10}).round();  // ties
    x[0][1][4][5] = std::numeric_limits<double>::quiet_NaN();
    x[1][2].fill_(-std::numeric_limits<double>::infinity());
    const auto pooled = [&](std::int64_t size) {
      return (size + 2 * window.padding - window.size) / window.stride + 1;
    };
    const std::vector<std::int64_t> shape = {2, 3, pooled(11), pooled(10)};
    at::Tensor expected = at::empty(shape, dtype_);
    at::Tensor found = at::empty(shape, dtype_);
    at::Tensor places = at::empty(shape, at::kByte);
    at::Tensor found_places = at::empty(shape, at::kByte);
    max_pool(window, x, expected, places);
    generic::max_pool(window, x, found, found_places);
    EXPECT_TRUE(same_bits(found_places, places)) << window.size;
    EXPECT_TRUE(same_bits(found.nan_to_num(77.0), expected.nan_to_num(77.0))) << window.size;
    const at::Tensor g = normal(shape);
    at::Tensor expected_gradient = at::empty_like(x);
    at::Tensor found_gradient = at::empty_like(x);
    max_pool_backward(window, g, places, expected_gradient);
    generic::max_pool_backward(window, g, places, found_gradient);
    EXPECT_TRUE(same_bits(found_gradient, expected_gradient)) << window.size;
  }
}

TEST_P(GenericImageKernelTest, MeansEqualTheLoops) {
  const at::Tensor x = normal({3, 5, 7, 6});
  at::Tensor expected = at::empty({3, 5}, dtype_);
  at::Tensor found = at::empty({3, 5}, dtype_);
  mean_of_pixels(x, expected);
  generic::mean_of_pixels(x, found);
  EXPECT_LT(relative_error(found, expected), tolerance());
}

INSTANTIATE_TEST_SUITE_P(Types, GenericImageKernelTest, testing::Values(at::kFloat, at::kDouble));

}  // namespace
}  // namespace halfback::kernels
