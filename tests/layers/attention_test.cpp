#include "halfback/layers/attention.h"

#include "tests/support/layer_cases.h"
#include "tests/support/layer_references.h"

#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

namespace halfback {
namespace {

constexpr AttentionShape kShape{
    .num_samples = 2, .length = 9, .num_channels = 24, .num_heads = 4, .num_key_value_heads = 2};

class AttentionTest : public testing::Test {
 protected:
  explicit AttentionTest(const AttentionShape& shape = kShape)
      : case_(attention_case(shape)), layer_(case_.make(at::kFloat)) {
    give_memory(layer_->parameters(), at::kFloat, random_);
    input_ = case_.input(at::kFloat, random_);
  }

  at::Tensor forward(const at::Tensor& input) {
    Saved saved;
    return forward_of(*layer_, input, saved);
  }
  // So many positions from the first on, behind those of the carry.
  at::Tensor extend(std::int64_t first, std::int64_t count, Carry& carry) {
    Saved saved;
    const at::Tensor output = forward_of(*layer_, input_.narrow(1, first, count).contiguous(),
                                         saved, {.is_training = false, .carry = &carry});
    EXPECT_TRUE(saved.is_empty());
    return output;
  }

  LayerCase case_;
  Random random_;
  std::unique_ptr<Layer> layer_;
  at::Tensor input_;
};

TEST(RotaryAnglesTest, FollowTheFormula) {
  const RotaryAngles angles =
      rotary_angles({.length = 50, .head_size = 6, .theta = 500.0}, at::kDouble);
  ASSERT_EQ(angles.cosine.sizes(), at::IntArrayRef({50, 3}));
  ASSERT_EQ(angles.sine.sizes(), at::IntArrayRef({50, 3}));
  for (const std::int64_t position : {0, 1, 7, 49}) {
    for (const std::int64_t pair : {0, 1, 2}) {
      const double angle =
          static_cast<double>(position) * std::pow(500.0, -2.0 * static_cast<double>(pair) / 6.0);
      EXPECT_NEAR(angles.cosine[position][pair].item<double>(), std::cos(angle), 1e-13);
      EXPECT_NEAR(angles.sine[position][pair].item<double>(), std::sin(angle), 1e-13);
    }
  }
}

TEST(RotaryAnglesTest, InFloatAreTheRoundedExactOnes) {
  const RotaryOptions options{.length = 5000, .head_size = 64};
  const RotaryAngles exact = rotary_angles(options, at::kDouble);
  const RotaryAngles rounded = rotary_angles(options, at::kFloat);
  EXPECT_TRUE(same_bits(rounded.cosine, exact.cosine.to(at::kFloat)));
  EXPECT_TRUE(same_bits(rounded.sine, exact.sine.to(at::kFloat)));
}

TEST_F(AttentionTest, IsCausal) {
  const at::Tensor expected = forward(input_);
  for (const std::int64_t changed : {0, 1, 5, 8}) {
    const at::Tensor input = input_.clone();
    input.select(1, changed).add_(1.0);
    const at::Tensor output = forward(input);
    EXPECT_TRUE(same_bits(output.narrow(1, 0, changed), expected.narrow(1, 0, changed)));
    for (std::int64_t later = changed; later < kShape.length; ++later) {
      EXPECT_FALSE(same_bits(output.select(1, later), expected.select(1, later)));
    }
  }
}

TEST_F(AttentionTest, KeepsSamplesApart) {
  const at::Tensor expected = forward(input_);
  const at::Tensor input = input_.clone();
  input[0].add_(1.0);
  EXPECT_TRUE(same_bits(forward(input)[1], expected[1]));
}

TEST_F(AttentionTest, ExtendsTokenByTokenToTheForward) {
  const at::Tensor expected = forward(input_);
  Carry carry;
  std::vector<at::Tensor> outputs;
  for (std::int64_t position = 0; position < kShape.length; ++position) {
    outputs.push_back(extend(position, 1, carry));
    EXPECT_EQ(carry.position, position + 1);
    EXPECT_EQ(carry.state.front().size(2), position + 1);
  }
  EXPECT_LT(relative_error(at::cat(outputs, 1), expected), 1e-5);
}

TEST_F(AttentionTest, ExtendsBehindAPrompt) {
  constexpr std::int64_t kPrompt = 5;
  const at::Tensor expected = forward(input_);
  Carry carry;
  std::vector<at::Tensor> outputs{extend(0, kPrompt, carry)};
  for (std::int64_t position = kPrompt; position < kShape.length; ++position) {
    outputs.push_back(extend(position, 1, carry));
  }
  EXPECT_LT(relative_error(at::cat(outputs, 1), expected), 1e-5);
}

TEST_F(AttentionTest, RefusesSeveralPositionsBehindOthers) {
  Carry carry;
  extend(0, 1, carry);
  EXPECT_THROW(extend(1, 2, carry), std::logic_error);
}

// Longer than the blocks of queries and of keys in which ATen's kernel works.
class LongAttentionTest : public AttentionTest {
 protected:
  LongAttentionTest()
      : AttentionTest({.num_samples = 1,
                       .length = 650,
                       .num_channels = 16,
                       .num_heads = 2,
                       .num_key_value_heads = 1}) {}
};

TEST_F(LongAttentionTest, EqualsAutograd) {
  const at::Tensor grad_output = case_.grad_output(*layer_, at::kFloat, random_);
  const Results actual = run_layer(*layer_, input_, grad_output);
  const Results expected = run_autograd(case_.reference, layer_->parameters(), input_, grad_output);
  EXPECT_LT(relative_error(actual.output, expected.output), 1e-6);
  EXPECT_LT(relative_error(actual.grad_input, expected.grad_input), 1e-6);
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_LT(relative_error(actual.grad_parameters[i], expected.grad_parameters[i]), 1e-6);
  }
}

}  // namespace
}  // namespace halfback
