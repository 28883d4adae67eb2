// Layers whose products take rounded weights: near what full precision gives, in its types, and
// the same whether W comes alone or with others.
#include "tests/support/layer_fixture.h"

#include <gtest/gtest.h>

#include <malloc.h>
#include <vector>

namespace halfback {
namespace {

// The types of products and how near they are: 8 and 11 bits.
struct Products {
  at::ScalarType dtype;
  double tolerance;
};
constexpr Products kAllProducts[] = {{at::kBFloat16, 0.05}, {at::kHalf, 0.02}};

// New memory holds 0x7f bytes, huge numbers in any type: what a kernel leaves unwritten shows.
class MixedPrecisionTest : public LayerTest {
 protected:
  MixedPrecisionTest() { mallopt(M_PERTURB, 0x80); }
  ~MixedPrecisionTest() override { mallopt(M_PERTURB, 0); }

  void round_weights(at::ScalarType dtype) {
    for (Parameter* parameter : layer_->parameters()) {
      if (parameter->decays) {
        parameter->rounded = parameter->value.to(dtype);
      }
    }
  }
};

TEST_P(MixedPrecisionTest, IsNearFullPrecision) {
  const at::Tensor input = case_.input(dtype_, random_);
  const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
  const Results full = run_layer(*layer_, input, grad_output);
  for (const auto& [dtype, tolerance] : kAllProducts) {
    SCOPED_TRACE(at::toString(dtype));
    round_weights(dtype);
    const Results mixed = run_layer(*layer_, input, grad_output);
    EXPECT_LT(relative_error(mixed.output, full.output), tolerance);
    if (case_.has_input_gradient()) {
      EXPECT_LT(relative_error(mixed.grad_input, full.grad_input), tolerance);
    }
    for (std::size_t i = 0; i < full.grad_parameters.size(); ++i) {
      EXPECT_LT(relative_error(mixed.grad_parameters[i], full.grad_parameters[i]), tolerance)
          << trained(layer_->parameters())[i]->name << ", seed " << kSeed;
    }
  }
}

// A product of rounded operands rounds too, so the sums over both ways differ by that much.
TEST_P(MixedPrecisionTest, ConcatenatesTheSameGradients) {
  for (const auto& [dtype, tolerance] : kAllProducts) {
    SCOPED_TRACE(at::toString(dtype));
    round_weights(dtype);
    std::vector<Saved> kept(2);
    std::vector<Saved> again(2);
    forget_gradients(layer_->parameters());
    for (std::size_t i = 0; i < kept.size(); ++i) {
      const at::Tensor input = case_.input(dtype_, random_);
      const at::Tensor grad_output = case_.grad_output(*layer_, dtype_, random_);
      for (Saved* saved : {&kept[i], &again[i]}) {
        forward_of(*layer_, input, *saved);
        input_gradient_of(*layer_, grad_output.clone(), *saved);
      }
    }
    for (Saved& saved : kept) {
      weight_gradients_of(*layer_, saved);
    }
    const std::vector<at::Tensor> looped = copy_gradients(layer_->parameters());
    forget_gradients(layer_->parameters());
    std::vector<Saved*> all = {&again[0], &again[1]};
    layer_->backward_weight(all);
    const std::vector<at::Tensor> concatenated = copy_gradients(layer_->parameters());
    for (std::size_t i = 0; i < looped.size(); ++i) {
      EXPECT_LT(relative_error(concatenated[i], looped[i]), tolerance)
          << trained(layer_->parameters())[i]->name << ", seed " << kSeed;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All,
                         MixedPrecisionTest,
                         testing::Combine(testing::ValuesIn(native_cases()),
                                          testing::Values(at::kFloat)),
                         typed_case_name);

}  // namespace
}  // namespace halfback
