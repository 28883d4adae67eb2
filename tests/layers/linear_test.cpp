// Linear runs the same matrix products as autograd does on one thread, so it has the same bits.
#include "halfback/layers/linear.h"

#include "tests/support/layer_fixture.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace halfback {
namespace {

class LinearTest : public LayerTest {};

TEST_P(LinearTest, HasTheBitsOfAutograd) {
  const at::Tensor input = case_.input(dtype_, random_);
  const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
  const Results actual = run_layer(*layer_, input, grad_output);
  const Threads one(1);  // which is how MKL computes here, and not in ATen
  const Results expected = run_autograd(case_.reference, layer_->parameters(), input, grad_output);

  EXPECT_TRUE(same_bits(actual.output, expected.output));
  EXPECT_TRUE(same_bits(actual.grad_input, expected.grad_input));
  EXPECT_TRUE(same_bits(actual.grad_parameters[0], expected.grad_parameters[0]));
}

INSTANTIATE_TEST_SUITE_P(All, LinearTest, in_both_types(linear_cases()), typed_case_name);

// Micro-batches may have different lengths.
TEST(LinearLengthsTest, ConcatenatesMicroBatchesOfDifferentLengths) {
  Random random;
  Linear layer("linear", {.num_inputs = 6, .num_outputs = 5, .has_bias = true});
  give_memory(layer.parameters(), at::kDouble, random);
  Saved short_one;
  Saved long_one;
  std::vector<at::Tensor> looped;
  for (const bool concatenated : {false, true}) {
    Random same(kSeed + 2);
    forget_gradients(layer.parameters());
    for (auto& [saved, length] : {std::pair{&short_one, 2}, std::pair{&long_one, 7}}) {
      forward_of(layer, same.normal({2, length, 6}, at::kDouble), *saved);
      input_gradient_of(layer, same.normal({2, length, 5}, at::kDouble), *saved);
      if (!concatenated) {
        weight_gradients_of(layer, *saved);
      }
    }
    if (!concatenated) {
      looped = copy_gradients(layer.parameters());
    }
  }
  std::vector<Saved*> both{&short_one, &long_one};
  layer.backward_weight(both);
  for (std::size_t i = 0; i < looped.size(); ++i) {
    EXPECT_LT(relative_error(layer.parameters()[i]->gradient, looped[i]), 1e-13);
  }
}

}  // namespace
}  // namespace halfback
