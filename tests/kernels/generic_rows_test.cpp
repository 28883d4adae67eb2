// The kernels by ATen's operators, called with tensors of the CPU, against the loops: each is the
// other's reference.
#include "halfback/kernels/generic_rows.h"

#include "halfback/kernels/scaled_dot_product.h"
#include "halfback/layers/attention.h"
#include "tests/support/layer_checks.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <tuple>
#include <vector>

namespace halfback::kernels {
namespace {

// Absolute below 1: gradients that are zero in exact numbers have no relative error.
double error(const at::Tensor& found, const at::Tensor& expected) {
  return relative_error(found.add(1), expected.add(1));
}

// Rows, columns, type.
class GenericKernelTest
    : public testing::TestWithParam<std::tuple<std::int64_t, std::int64_t, at::ScalarType>> {
 protected:
  at::Tensor normal(at::IntArrayRef shape) { return random_.normal(shape, dtype_); }
  at::Tensor empty(at::IntArrayRef shape) const { return at::empty(shape, dtype_); }
  at::Tensor matrix() { return normal({rows_, columns_}); }
  double tolerance() const { return dtype_ == at::kDouble ? 1e-13 : 2e-6; }

  // Runs both with copies of what they read and write; everything must be equal after.
  template <typename Loop, typename Generic>
  void expect_equal(const std::vector<at::Tensor>& tensors, Loop loop, Generic generic) {
    const auto run = [&tensors](auto function) {
      std::vector<at::Tensor> copies;
      for (const at::Tensor& tensor : tensors) {
        copies.push_back(tensor.clone());
      }
      function(copies);
      return copies;
    };
    const std::vector<at::Tensor> expected = run(loop);
    const std::vector<at::Tensor> found = run(generic);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_LT(error(found[i], expected[i]), tolerance()) << "tensor " << i;
    }
  }

  std::int64_t rows_ = std::get<0>(GetParam());
  std::int64_t columns_ = std::get<1>(GetParam());
  at::ScalarType dtype_ = std::get<2>(GetParam());
  Random random_;
};

using Tensors = std::vector<at::Tensor>;

TEST_P(GenericKernelTest, RmsNormEqualsTheLoops) {
  const auto forward = [](auto function) {
    return [=](Tensors& t) { function(t[0], t[1], 1e-5, t[2], t[3]); };
  };
  const Tensors tensors = {matrix(), normal({columns_}), empty({rows_, columns_}), empty({rows_})};
  expect_equal(tensors, forward(rms_norm), forward(generic::rms_norm));
}

TEST_P(GenericKernelTest, RmsNormBackwardEqualsTheLoops) {
  const at::Tensor input = matrix();
  at::Tensor inverse_rms = empty({rows_});
  at::Tensor output = empty({rows_, columns_});
  const at::Tensor weight = normal({columns_});
  rms_norm(input, weight, 1e-5, output, inverse_rms);
  for (const bool is_whole : {false, true}) {
    const auto backward = [&](auto function) {
      return [=](Tensors& t) {
        function({.input = input,
                  .inverse_rms = inverse_rms,
                  .weight = weight,
                  .gradient = t[0],
                  .residual = is_whole ? &t[1] : nullptr,
                  .output = is_whole ? &t[2] : nullptr,
                  .grad_weight = t[3]});
      };
    };
    const at::Tensor blank = at::zeros({rows_, columns_}, dtype_);
    expect_equal({matrix(), matrix(), blank, empty({columns_})},
                 backward([](const RmsNormBackward& a) { rms_norm_backward(a); }),
                 backward([](const RmsNormBackward& a) { generic::rms_norm_backward(a); }));
  }
}

TEST_P(GenericKernelTest, LayerNormEqualsTheLoops) {
  const at::Tensor input = matrix().add_(0.5);
  const at::Tensor weight = normal({columns_});
  const at::Tensor bias = normal({columns_});
  const auto forward = [&](auto function) {
    return [=](Tensors& t) {
      function({.input = input,
                .weight = weight,
                .bias = bias,
                .epsilon = 0.1,
                .output = t[0],
                .moments = t[1]});
    };
  };
  at::Tensor output = empty({rows_, columns_});
  at::Tensor moments = empty({rows_, 2});
  expect_equal({output, moments}, forward([](const LayerNorm& a) { layer_norm(a); }),
               forward([](const LayerNorm& a) { generic::layer_norm(a); }));
  layer_norm({input, weight, bias, 0.1, output, moments});
  for (const bool is_whole : {false, true}) {
    const auto backward = [&](auto function) {
      return [=](Tensors& t) {
        function({.input = input,
                  .moments = moments,
                  .weight = weight,
                  .bias = bias,
                  .gradient = t[0],
                  .residual = is_whole ? &t[1] : nullptr,
                  .output = is_whole ? &t[2] : nullptr,
                  .grad_parameters = t[3]});
      };
    };
    const at::Tensor blank = at::zeros({rows_, columns_}, dtype_);
    expect_equal({matrix(), matrix(), blank, empty({2, columns_})},
                 backward([](const LayerNormBackward& a) { layer_norm_backward(a); }),
                 backward([](const LayerNormBackward& a) { generic::layer_norm_backward(a); }));
  }
}

TEST_P(GenericKernelTest, DropoutHasTheBitsOfTheLoops) {
  const at::Tensor input = matrix();
  for (const std::uint64_t key :
       {std::uint64_t{0}, std::uint64_t{0xfedcba9876543210}, std::uint64_t{0xffffffffffffffff}}) {
    for (const double probability : {0.0, 0.1, 0.5, 0.999}) {
      const DropoutDraw draw{.key = key, .probability = probability};
      at::Tensor expected = empty({rows_, columns_});
      at::Tensor found = empty({rows_, columns_});
      dropout(input, draw, expected);
      generic::dropout(input, draw, found);
      EXPECT_TRUE(same_bits(found, expected)) << key << ", " << probability;
    }
  }
}

TEST_P(GenericKernelTest, SwigluEqualsTheLoops) {
  const Tensors tensors = {normal({rows_, 2 * columns_}), matrix()};
  expect_equal(
      tensors, [](Tensors& t) { swiglu(t[0], t[1]); },
      [](Tensors& t) { generic::swiglu(t[0], t[1]); });
  expect_equal(
      tensors, [](Tensors& t) { swiglu_backward(t[0], t[1]); },
      [](Tensors& t) { generic::swiglu_backward(t[0], t[1]); });
}

TEST_P(GenericKernelTest, RotationsEqualTheLoops) {
  const std::int64_t size = 2 * columns_;
  const RotaryAngles angles = rotary_angles({.length = rows_ + 3, .head_size = size}, dtype_);
  const auto rotate = [&](auto function) {
    return [=](Tensors& t) { function(t[0], 2, angles.cosine, angles.sine, 3); };
  };
  expect_equal({normal({2, rows_, 3, size})}, rotate(rotate_heads), rotate(generic::rotate_heads));
  for (const bool rotates : {false, true}) {
    const auto write = [&](auto function) {
      return [=](Tensors& t) {
        function({.gradient = t[0].transpose(1, 2),
                  .first_head = 1,
                  .cosine = rotates ? &angles.cosine : nullptr,
                  .sine = rotates ? &angles.sine : nullptr},
                 t[1]);
      };
    };
    expect_equal({normal({2, rows_, 2, size}), normal({2, rows_, 4, size})},
                 write(write_head_gradient), write(generic::write_head_gradient));
  }
}

TEST_P(GenericKernelTest, AccumulatedRowsEqualTheLoops) {
  const at::Tensor ids = random_.ids({rows_}, 3);
  expect_equal(
      {matrix(), normal({3, columns_})}, [&](Tensors& t) { accumulate_rows(ids, t[0], t[1]); },
      [&](Tensors& t) { generic::accumulate_rows(ids, t[0], t[1]); });
}

TEST_P(GenericKernelTest, LossesEqualTheLoops) {
  const at::Tensor targets = random_.ids({rows_}, columns_);
  const at::Tensor logits = matrix().mul_(5.0);
  at::Tensor expected = logits.clone();
  at::Tensor found = logits.clone();
  const double loss = log_softmax_loss(expected, targets);
  EXPECT_NEAR(generic::log_softmax_loss(found, targets), loss, 1e-6 * (1.0 + loss));
  EXPECT_LT(error(found, expected), tolerance());
  EXPECT_EQ(generic::count_correct(expected, targets), count_correct(expected, targets));
  found.copy_(expected);
  log_softmax_loss_backward(expected, targets, 0.37);
  generic::log_softmax_loss_backward(found, targets, 0.37);
  EXPECT_LT(error(found, expected), tolerance());
}

TEST_P(GenericKernelTest, SumsOfSquaresEqualTheLoops) {
  const Tensors tensors = {matrix(), at::empty({0}, dtype_), normal({columns_}).mul_(1e20)};
  const std::vector<double> expected = sums_of_squares(tensors);
  const std::vector<double> found = generic::sums_of_squares(tensors);
  ASSERT_EQ(found.size(), tensors.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_NEAR(found[i], expected[i], 1e-13 * expected[i]);
    EXPECT_EQ(expected[i], sum_of_squares(tensors[i]));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes,
                         GenericKernelTest,
                         testing::Combine(testing::Values(1, 7, 70),
                                          testing::Values(1, 2, 15, 33, 130),
                                          testing::Values(at::kFloat, at::kDouble)));

TEST(GenericKernelsTest, CountTheFirstOfEqualScores) {
  const at::Tensor scores = at::zeros({2, 5}, at::kFloat);
  EXPECT_EQ(generic::count_correct(scores, at::arange(2, at::kLong)), 1);
}

TEST(GenericKernelsTest, KeepWhatIsNotANumber) {
  at::Tensor values = at::ones({2, 6}, at::kFloat);
  values[0][3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(generic::sums_of_squares({{values}}).front()));
  EXPECT_TRUE(std::isnan(generic::log_softmax_loss(values, at::zeros({2}, at::kLong))));
}

// Heads, key/value heads, length, whether causal, whether some keys are masked.
class GenericAttentionTest
    : public testing::TestWithParam<std::tuple<std::int64_t, std::int64_t, std::int64_t, bool>> {};

TEST_P(GenericAttentionTest, EqualsTheFusedKernels) {
  const auto [heads, pairs, length, is_causal] = GetParam();
  constexpr std::int64_t kSize = 6;
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    Random random;
    const at::Tensor packed = random.normal({2, length, heads + 2 * pairs, kSize}, dtype);
    const auto part = [&](std::int64_t first, std::int64_t count) {
      return packed.narrow(2, first, count).transpose(1, 2);
    };
    ScaledDotProduct product{.query = part(0, heads),
                             .key = part(heads, pairs),
                             .value = part(heads + pairs, pairs),
                             .is_causal = is_causal};
    if (!is_causal && heads == pairs) {
      at::Tensor mask = at::zeros({2, 1, length, length}, dtype);
      mask[1].slice(2, length / 2 + 1).fill_(-std::numeric_limits<double>::infinity());
      product.mask = mask;
    }
    const double tolerance = dtype == at::kDouble ? 1e-13 : 2e-6;
    const Attended expected = attend(product);
    const Attended found = halfback::generic::attend(product);
    EXPECT_LT(relative_error(found.output, expected.output), tolerance);
    EXPECT_TRUE(found.output.transpose(1, 2).is_contiguous());
    EXPECT_LT(relative_error(found.log_sum_exp, expected.log_sum_exp), tolerance);
    const AttendBackward backward{
        .grad_output = random.normal({2, length, heads, kSize}, dtype).transpose(1, 2),
        .output = expected.output,
        .log_sum_exp = expected.log_sum_exp};
    const AttentionGradients wanted = attend_backward(product, backward);
    const AttentionGradients gradients = halfback::generic::attend_backward(product, backward);
    EXPECT_LT(error(gradients.query, wanted.query), tolerance);
    EXPECT_LT(error(gradients.key, wanted.key), tolerance);
    EXPECT_LT(error(gradients.value, wanted.value), tolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes,
                         GenericAttentionTest,
                         testing::Combine(testing::Values(4),
                                          testing::Values(1, 2, 4),
                                          testing::Values(1, 3, 40),
                                          testing::Bool()));

}  // namespace
}  // namespace halfback::kernels
