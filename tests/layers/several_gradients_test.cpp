// The gradients of two losses through what one forward has kept: as through two forwards.
#include "halfback/base/error.h"
#include "halfback/layers/recomputed.h"
#include "tests/support/errors.h"
#include "tests/support/layer_fixture.h"

#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

namespace halfback {
namespace {

class SeveralGradientsTest : public LayerTest {
 protected:
  struct Outcome {
    Tensors grad_inputs;
    std::vector<at::Tensor> grad_parameters;
  };

  // I of both on what each has, then W of both.
  Outcome run(Saved& first, Saved& second) {
    forget_gradients(layer_->parameters());
    Outcome outcome;
    outcome.grad_inputs = {input_gradient_of(*layer_, gradients_[0], first),
                           input_gradient_of(*layer_, gradients_[1], second)};
    weight_gradients_of(*layer_, second);
    weight_gradients_of(*layer_, first);
    EXPECT_TRUE(first.is_empty() && second.is_empty());
    outcome.grad_parameters = copy_gradients(layer_->parameters());
    return outcome;
  }

  at::Tensor input_ = case_.input(dtype_, random_);
  at::Tensor gradients_[2] = {case_.grad_output(*layer_, dtype_, random_),
                              case_.grad_output(*layer_, dtype_, random_)};
};

TEST_P(SeveralGradientsTest, HaveTheBitsOfTwoForwards) {
  Saved one;
  Saved another;
  forward_of(*layer_, input_, one);
  forward_of(*layer_, input_, another);
  const Outcome expected = run(one, another);

  Saved saved;
  forward_of(*layer_, input_, saved);
  Saved copy = copies_for_another_gradient({&saved, 1}).front();
  const Outcome found = run(saved, copy);
  for (std::size_t i = 0; i < expected.grad_inputs.size(); ++i) {
    ASSERT_EQ(found.grad_inputs[i].defined(), expected.grad_inputs[i].defined());
    if (found.grad_inputs[i].defined()) {
      EXPECT_TRUE(same_bits(found.grad_inputs[i], expected.grad_inputs[i])) << i;
    }
  }
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_TRUE(same_bits(found.grad_parameters[i], expected.grad_parameters[i])) << i;
  }
}

// Running statistics count a micro-batch once, whatever number of gradients passes it.
void expect_moves_statistics_once(Layer& layer,
                                  const at::Tensor& input,
                                  const at::Tensor* gradients) {
  const auto statistics = [&layer] {
    Tensors values;
    for (const Parameter* parameter : layer.parameters()) {
      if (!parameter->trains && !parameter->decays) {  // a statistic, not a matrix
        values.push_back(parameter->value.clone());
      }
    }
    return values;
  };
  Saved saved;
  forward_of(layer, input, saved);
  Saved copy = copies_for_another_gradient({&saved, 1}).front();
  const Tensors before = statistics();
  input_gradient_of(layer, gradients[1], copy);
  weight_gradients_of(layer, copy);
  const Tensors after = statistics();
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_TRUE(same_bits(before[i], after[i])) << i;
  }
  input_gradient_of(layer, gradients[0], saved);
  weight_gradients_of(layer, saved);
  const Tensors moved = statistics();
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_FALSE(same_bits(before[i], moved[i])) << i;
  }
}

TEST_P(SeveralGradientsTest, MoveWhatDoesNotTrainOnce) {
  expect_moves_statistics_once(*layer_, input_, gradients_);
}

TEST_P(SeveralGradientsTest, MoveWhatDoesNotTrainOnceWhereForwardsAreRecomputed) {
  std::vector<std::unique_ptr<Layer>> inside;
  inside.push_back(std::move(layer_));
  Recomputed recomputed(std::move(inside), {.recomputes_forward = true});
  expect_moves_statistics_once(recomputed, input_, gradients_);
}

// Both ways through a residual block begin with one input: a copy has it once, too.
TEST(CopiesForAnotherGradientTest, ShareWhatTheLayersShare) {
  const at::Tensor input = at::ones({2});
  std::vector<Saved> layers(2);
  layers[0].add_members(1);
  layers[0].members[0].until_weight = {input, at::Tensor()};
  layers[1].until_input = {input, at::ones({2})};
  const std::vector<Saved> copies = copies_for_another_gradient(layers);
  const at::Tensor copy = copies[0].members[0].until_weight[0];
  EXPECT_TRUE(copy.equal(input));
  EXPECT_NE(copy.const_data_ptr(), input.const_data_ptr());
  EXPECT_EQ(copies[1].until_input[0].const_data_ptr(), copy.const_data_ptr());
  EXPECT_NE(copies[1].until_input[1].const_data_ptr(), copy.const_data_ptr());
  EXPECT_FALSE(copies[0].members[0].until_weight[1].defined());
  EXPECT_TRUE(copies[0].members[0].is_copy);
}

INSTANTIATE_TEST_SUITE_P(Native,
                         SeveralGradientsTest,
                         in_both_types(native_cases()),
                         typed_case_name);

TEST(SeveralGradientsOfModulesTest, AreRefused) {
  Random random;
  const LayerCase foreign = foreign_cases().front();
  const std::unique_ptr<Layer> layer = foreign.make(at::kFloat);
  give_memory(layer->parameters(), at::kFloat, random);
  Saved saved;
  forward_of(*layer, foreign.input(at::kFloat, random), saved);
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] {
                         copies_for_another_gradient({&saved, 1});
                       }),
                       "pass a module of libtorch, whose graph runs once"));
}

}  // namespace
}  // namespace halfback
