// I and W together against autograd on the plain formula, and against numeric gradients.
#include "tests/support/layer_fixture.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback {
namespace {

class LayerGradientTest : public LayerTest {};

TEST_P(LayerGradientTest, EqualsAutograd) {
  const double tolerance = dtype_ == at::kFloat ? 1e-6 : 1e-12;
  const at::Tensor input = case_.input(dtype_, random_);
  const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
  const Results actual = run_layer(*layer_, input, grad_output);
  const Results expected = run_autograd(case_.reference, layer_->parameters(), input, grad_output);

  EXPECT_LT(relative_error(actual.output, expected.output.to(actual.output.scalar_type())),
            tolerance);
  ASSERT_EQ(actual.grad_input.defined(), case_.has_input_gradient());
  if (actual.grad_input.defined()) {
    EXPECT_LT(relative_error(actual.grad_input, expected.grad_input), tolerance);
  }
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_LT(relative_error(actual.grad_parameters[i], expected.grad_parameters[i]), tolerance)
        << trained(layer_->parameters())[i]->name << ", seed " << kSeed;
  }
}

INSTANTIATE_TEST_SUITE_P(All, LayerGradientTest, in_both_types(all_cases()), typed_case_name);

class LayerNumericGradientTest : public LayerTest {};

TEST_P(LayerNumericGradientTest, EqualsCentralDifferences) {
  constexpr double kTolerance = 1e-6;
  const at::Tensor input = case_.input(dtype_, random_);
  const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
  const auto weighted_sum = [&] {
    Saved saved;
    return forward_of(*layer_, input, saved).mul(grad_output).sum().item<double>();
  };
  const Results actual = run_layer(*layer_, input, grad_output);

  if (case_.has_input_gradient()) {
    EXPECT_LT(relative_error(actual.grad_input, numeric_gradient(weighted_sum, input)), kTolerance);
  }
  for (std::size_t i = 0; i < actual.grad_parameters.size(); ++i) {
    const Parameter& parameter = *trained(layer_->parameters())[i];
    const at::Tensor expected = numeric_gradient(weighted_sum, parameter.value);
    EXPECT_LT(relative_error(actual.grad_parameters[i], expected), kTolerance)
        << parameter.name << ", seed " << kSeed;
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         LayerNumericGradientTest,
                         testing::Combine(testing::ValuesIn(all_cases()),
                                          testing::Values(at::kDouble)),
                         typed_case_name);

}  // namespace
}  // namespace halfback
