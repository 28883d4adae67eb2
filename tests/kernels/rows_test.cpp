// Whole tensors: order of sums, independence of the number of threads, and rotations.
#include "halfback/kernels/rows.h"

#include "halfback/layers/attention.h"
#include "tests/support/layer_checks.h"
#include "tests/support/layer_references.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>

namespace halfback::kernels {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(ParallelForTest, RunsOnSeveralThreads) {
  // ATen's template runs on one thread where OpenMP is off, and says nothing.
  const Threads threads(2);
  std::atomic<int> largest = 0;
  at::parallel_for(0, 2, 1, [&](auto begin, auto) {
    if (begin > 0) {
      largest = at::get_thread_num();
    }
  });
  EXPECT_EQ(largest, 1);
}

TEST(SumOfSquaresTest, EqualsTheSumInDouble) {
  Random random;
  for (const std::int64_t count : {1, 15, 16, 17, 4095, 4096, 4097, 100003}) {
    const at::Tensor values = random.normal({count}, at::kFloat);
    const double expected = values.to(at::kDouble).square().sum().item<double>();
    EXPECT_NEAR(sum_of_squares(values), expected, 1e-13 * expected) << count;
  }
}

TEST(SumOfSquaresTest, OfNothingIsZero) {
  EXPECT_EQ(sum_of_squares(at::empty({0}, at::kFloat)), 0.0);
}

TEST(SumOfSquaresTest, OfHalfPrecisionIsThatOfTheSameNumbers) {
  for (const at::ScalarType small : {at::kBFloat16, at::kHalf}) {
    const at::Tensor values = Random().normal({100}, at::kFloat).to(small);
    EXPECT_EQ(sum_of_squares(values), sum_of_squares(values.to(at::kFloat)));
  }
}

TEST(SumOfSquaresTest, DoesNotOverflowWhereFloatDoes) {
  const at::Tensor values = at::zeros({20}, at::kFloat);
  values.fill_(1e30);
  EXPECT_NEAR(sum_of_squares(values) / 2e61, 1.0, 1e-6);
}

TEST(SumOfSquaresTest, KeepsWhatIsNotANumber) {
  const at::Tensor values = at::zeros({5000}, at::kFloat);
  values[4999] = kNan;
  EXPECT_TRUE(std::isnan(sum_of_squares(values)));
}

TEST(SumOfSquaresTest, HasTheSameBitsOnEveryNumberOfThreads) {
  const at::Tensor values = Random().normal({300007}, at::kFloat);
  const auto on = [&](int count) {
    const Threads threads(count);
    return sum_of_squares(values);
  };
  const double expected = on(1);
  EXPECT_EQ(on(2), expected);
  EXPECT_EQ(on(5), expected);
}

class RmsNormKernelTest : public testing::Test {
 protected:
  struct Outcome {
    at::Tensor output;
    at::Tensor output_again;
    at::Tensor grad_input;
    at::Tensor grad_weight;
  };

  Outcome run(int num_threads) const {
    const Threads threads(num_threads);
    Outcome outcome{.output = at::empty_like(input_),
                    .output_again = at::empty_like(input_),
                    .grad_input = gradient_.clone(),
                    .grad_weight = at::empty_like(weight_)};
    at::Tensor inverse_rms = at::empty({input_.size(0)}, at::kFloat);
    rms_norm(input_, weight_, 1e-5, outcome.output, inverse_rms);
    rms_norm_backward({.input = input_,
                       .inverse_rms = inverse_rms,
                       .weight = weight_,
                       .gradient = outcome.grad_input,
                       .residual = &residual_,
                       .output = &outcome.output_again,
                       .grad_weight = outcome.grad_weight});
    return outcome;
  }

  static constexpr std::int64_t kRows = 20011;
  static constexpr std::int64_t kColumns = 24;
  Random random_;
  at::Tensor input_ = random_.normal({kRows, kColumns}, at::kFloat);
  at::Tensor gradient_ = random_.normal({kRows, kColumns}, at::kFloat);
  at::Tensor residual_ = random_.normal({kRows, kColumns}, at::kFloat);
  at::Tensor weight_ = random_.around_one({kColumns}, at::kFloat);
};

TEST_F(RmsNormKernelTest, HasTheSameBitsOnEveryNumberOfThreads) {
  const Outcome expected = run(1);
  for (const int num_threads : {2, 5}) {
    const Outcome actual = run(num_threads);
    EXPECT_TRUE(same_bits(actual.output, expected.output)) << num_threads;
    EXPECT_TRUE(same_bits(actual.grad_input, expected.grad_input)) << num_threads;
    EXPECT_TRUE(same_bits(actual.grad_weight, expected.grad_weight)) << num_threads;
  }
}

TEST_F(RmsNormKernelTest, MakesTheBitsOfTheOutputAnew) {
  const Outcome outcome = run(1);
  EXPECT_TRUE(same_bits(outcome.output_again, outcome.output));
}

TEST_F(RmsNormKernelTest, KeepsANanInItsRow) {
  input_[7][3] = kNan;
  const Outcome outcome = run(1);
  EXPECT_TRUE(outcome.output[7].isnan().all().item<bool>());
  EXPECT_TRUE(outcome.grad_input[7].isnan().all().item<bool>());
  EXPECT_TRUE(outcome.grad_weight.isnan().all().item<bool>());
  EXPECT_FALSE(outcome.output[6].isnan().any().item<bool>());
  EXPECT_FALSE(outcome.grad_input[8].isnan().any().item<bool>());
}

TEST(RmsNormZeroTest, OfZerosIsZeroAndItsGradientFinite) {
  const at::Tensor input = at::zeros({2, 6}, at::kFloat);
  const at::Tensor weight = Random().around_one({6}, at::kFloat);
  at::Tensor output = at::empty_like(input);
  at::Tensor inverse_rms = at::empty({2}, at::kFloat);
  rms_norm(input, weight, 1e-5, output, inverse_rms);
  EXPECT_TRUE(same_bits(output, input));
  EXPECT_NEAR(inverse_rms[0].item<double>(), 1.0 / std::sqrt(1e-5), 1e-3);
}

TEST(AccumulateRowsTest, HasTheOrderOfTheIdsOnEveryNumberOfThreads) {
  Random random;
  const at::Tensor ids = random.ids({40, 50}, 3);
  const at::Tensor grad_output = random.normal({40, 50, 33}, at::kFloat);
  const at::Tensor expected = at::zeros({3, 33}, at::kFloat);
  for (std::int64_t row = 0; row < 2000; ++row) {
    expected[ids.view({-1})[row].item<std::int64_t>()] += grad_output.view({2000, 33})[row];
  }
  for (const int num_threads : {1, 2, 5}) {
    const Threads threads(num_threads);
    at::Tensor actual = at::zeros({3, 33}, at::kFloat);
    accumulate_rows(ids, grad_output, actual);
    EXPECT_TRUE(same_bits(actual, expected)) << num_threads;
  }
}

TEST(LogSoftmaxLossTest, KeepsWhatIsNotANumber) {
  at::Tensor logits = at::zeros({3, 20}, at::kFloat);
  logits[1][17] = kNan;
  EXPECT_TRUE(std::isnan(log_softmax_loss(logits, at::zeros({3}, at::kLong))));
}

TEST(LogSoftmaxLossTest, IsLargeForAWrongCertaintyAndZeroForARightOne) {
  for (const double certainty : {100.0, 1e4}) {
    at::Tensor logits = at::zeros({2, 20}, at::kFloat);
    logits[0][0] = certainty;
    logits[1][1] = certainty;
    EXPECT_NEAR(log_softmax_loss(logits, at::zeros({2}, at::kLong)), certainty, 1e-6 * certainty);
    log_softmax_loss_backward(logits, at::zeros({2}, at::kLong), 0.5);
    EXPECT_NEAR(logits[0].abs().max().item<double>(), 0.0, 1e-30);
    EXPECT_NEAR(logits[1][0].item<double>(), -0.5, 1e-30);
    EXPECT_NEAR(logits[1][1].item<double>(), 0.5, 1e-30);
  }
}

class RotationTest : public testing::Test {
 protected:
  static constexpr std::int64_t kNumRotated = 5;
  Random random_;
  at::Tensor heads_ = random_.normal({2, 9, 7, 6}, at::kFloat);  // [N, T, all heads, D]
  RotaryAngles angles_ = rotary_angles({.length = 30, .head_size = 6}, at::kFloat);
};

TEST_F(RotationTest, EqualsTheFormula) {
  at::Tensor rotated = heads_.clone();
  rotate_heads(rotated, kNumRotated, angles_.cosine, angles_.sine, 0);
  const at::Tensor expected = rotary_reference(heads_.narrow(2, 0, kNumRotated).transpose(1, 2));
  EXPECT_LT(relative_error(rotated.narrow(2, 0, kNumRotated).transpose(1, 2), expected), 1e-6);
}

TEST_F(RotationTest, LeavesTheOtherHeadsAlone) {
  at::Tensor rotated = heads_.clone();
  rotate_heads(rotated, kNumRotated, angles_.cosine, angles_.sine, 0);
  EXPECT_TRUE(same_bits(rotated.narrow(2, kNumRotated, 2), heads_.narrow(2, kNumRotated, 2)));
}

TEST_F(RotationTest, StartsAtTheFirstPosition) {
  at::Tensor all = heads_.clone();
  rotate_heads(all, kNumRotated, angles_.cosine, angles_.sine, 0);
  at::Tensor last = heads_.narrow(1, 4, 5).contiguous();
  rotate_heads(last, kNumRotated, angles_.cosine, angles_.sine, 4);
  EXPECT_TRUE(same_bits(last, all.narrow(1, 4, 5)));
}

TEST_F(RotationTest, IsUndoneByTheBackward) {
  at::Tensor rotated = heads_.clone();
  rotate_heads(rotated, kNumRotated, angles_.cosine, angles_.sine, 0);
  at::Tensor back = at::zeros({2, 9, 7, 6}, at::kFloat);
  write_head_gradient({.gradient = rotated.narrow(2, 0, kNumRotated).transpose(1, 2),
                       .cosine = &angles_.cosine,
                       .sine = &angles_.sine},
                      back);
  write_head_gradient({.gradient = rotated.narrow(2, kNumRotated, 2).transpose(1, 2).contiguous(),
                       .first_head = kNumRotated},
                      back);
  EXPECT_LT(relative_error(back, heads_), 1e-6);
  EXPECT_TRUE(same_bits(back.narrow(2, kNumRotated, 2), heads_.narrow(2, kNumRotated, 2)));
}

}  // namespace
}  // namespace halfback::kernels
