// Padding that a mask names: nobody looks at it, and nothing comes back through it.
#include "halfback/layers/self_attention.h"

#include "tests/support/layer_checks.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <vector>

namespace halfback {
namespace {

constexpr std::int64_t kLength = 5;
constexpr std::int64_t kPadding = 3;
constexpr std::int64_t kChannels = 8;

class SelfAttentionTest : public testing::Test {
 protected:
  SelfAttentionTest() { give_memory(layer_.parameters(), at::kDouble, random_); }

  Results run(const at::Tensor& input, const at::Tensor& mask, const at::Tensor& grad_output) {
    forget_gradients(layer_.parameters());
    Saved saved;
    Results results;
    results.output = layer_.forward({input, mask}, saved, {}).front();
    results.grad_input = layer_.backward_input({grad_output, {}}, saved, {}).front();
    weight_gradients_of(layer_, saved);
    results.grad_parameters = copy_gradients(layer_.parameters());
    return results;
  }

  Random random_;
  SelfAttention layer_{"layer", {.num_channels = kChannels, .num_heads = 2}};
};

TEST_F(SelfAttentionTest, DoesWhatItDoesWithoutThePadding) {
  const at::Tensor padded = random_.normal({2, kLength + kPadding, kChannels}, at::kDouble);
  const at::Tensor gradient = random_.normal({2, kLength + kPadding, kChannels}, at::kDouble);
  gradient.narrow(1, kLength, kPadding).zero_();
  at::Tensor mask = at::ones({2, kLength + kPadding}, at::kLong);
  mask.narrow(1, kLength, kPadding).zero_();
  const auto cut = [](const at::Tensor& tensor) {
    return tensor.narrow(1, 0, kLength).contiguous();
  };

  const Results found = run(padded, mask, gradient);
  const Results expected = run(cut(padded), at::ones({2, kLength}, at::kLong), cut(gradient));
  EXPECT_LT(relative_error(cut(found.output), expected.output), 1e-12);
  EXPECT_LT(relative_error(cut(found.grad_input), expected.grad_input), 1e-12);
  EXPECT_EQ(found.grad_input.narrow(1, kLength, kPadding).abs().max().item<double>(), 0.0);
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_LT(relative_error(found.grad_parameters[i], expected.grad_parameters[i]), 1e-12)
        << layer_.parameters()[i]->name;
  }
}

TEST_F(SelfAttentionTest, AMaskOfOnesIsNone) {
  const at::Tensor input = random_.normal({3, kLength, kChannels}, at::kDouble);
  const at::Tensor gradient = random_.normal({3, kLength, kChannels}, at::kDouble);
  const Results found = run(input, at::ones({3, kLength}, at::kLong), gradient);
  const Results expected = run_layer(layer_, input, gradient);
  EXPECT_LT(relative_error(found.output, expected.output), 1e-12);
  EXPECT_LT(relative_error(found.grad_input, expected.grad_input), 1e-12);
}

}  // namespace
}  // namespace halfback
