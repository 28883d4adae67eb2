// What a Mamba block does beyond what the tests of all layers ask: time, threads, long sequences,
// and gradients over several micro-batches.
#include "halfback/layers/mamba_block.h"

#include "tests/support/layer_cases.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace halfback {
namespace {

constexpr MambaShape kShape{.num_samples = 3,
                            .length = 70,
                            .num_channels = 8,
                            .inner_channels = 290,
                            .state_size = 4,
                            .num_taps = 4,
                            .step_rank = 2};

class MambaBlockTest : public testing::Test {
 protected:
  void make(const MambaShape& shape, at::ScalarType dtype) {
    case_ = mamba_case(shape);
    dtype_ = dtype;
    layer_ = case_.make(dtype);
    give_memory(layer_->parameters(), dtype, random_);
    input_ = case_.input(dtype, random_);
    grad_output_ = case_.grad_output(*layer_, dtype, random_);
  }

  void expect_autograd(double tolerance) {
    const Results actual = run_layer(*layer_, input_, grad_output_);
    const Results expected =
        run_autograd(case_.reference, layer_->parameters(), input_, grad_output_);
    EXPECT_LT(relative_error(actual.output, expected.output), tolerance);
    EXPECT_LT(relative_error(actual.grad_input, expected.grad_input), tolerance);
    for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
      EXPECT_LT(relative_error(actual.grad_parameters[i], expected.grad_parameters[i]), tolerance)
          << layer_->parameters()[i]->name;
    }
  }

  LayerCase case_;
  Random random_;
  at::ScalarType dtype_ = at::kFloat;
  std::unique_ptr<Layer> layer_;
  at::Tensor input_;
  at::Tensor grad_output_;
};

TEST_F(MambaBlockTest, IsCausal) {
  make(kShape, at::kFloat);
  Saved saved;
  const at::Tensor expected = forward_of(*layer_, input_, saved);
  for (const std::int64_t changed : {0, 3, 63, 64, 69}) {
    const at::Tensor input = input_.clone();
    input.select(1, changed).add_(1.0);
    const at::Tensor output = forward_of(*layer_, input, saved);
    EXPECT_TRUE(same_bits(output.narrow(1, 0, changed), expected.narrow(1, 0, changed)));
    for (std::int64_t later = changed; later < kShape.length; ++later) {
      EXPECT_FALSE(same_bits(output.select(1, later), expected.select(1, later))) << later;
    }
  }
}

TEST_F(MambaBlockTest, KeepsSamplesApart) {
  make(kShape, at::kFloat);
  Saved saved;
  const at::Tensor expected = forward_of(*layer_, input_, saved);
  const at::Tensor input = input_.clone();
  input[1].add_(1.0);
  const at::Tensor output = forward_of(*layer_, input, saved);
  EXPECT_TRUE(same_bits(output[0], expected[0]));
  EXPECT_TRUE(same_bits(output[2], expected[2]));
}

// But for products over all rows, which the library of matrix products may cut by threads.
TEST_F(MambaBlockTest, HasTheSameBitsOnEveryNumberOfThreads) {
  make(kShape, at::kFloat);
  const auto run = [this](int count) {
    const Threads threads(count);
    return run_layer(*layer_, input_, grad_output_);
  };
  const Results expected = run(1);
  for (const int count : {2, 3, 5}) {
    const Results actual = run(count);
    EXPECT_TRUE(same_bits(actual.output, expected.output));
    EXPECT_TRUE(same_bits(actual.grad_input, expected.grad_input));
    for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
      const std::string& name = layer_->parameters()[i]->name;
      EXPECT_TRUE(name.ends_with("_proj.weight") ||
                  same_bits(actual.grad_parameters[i], expected.grad_parameters[i]))
          << name << ", " << count << " threads";
    }
  }
}

TEST_F(MambaBlockTest, EqualsAutogradOnLongSequencesOfManyChannels) {
  make(kShape, at::kDouble);
  expect_autograd(1e-12);
  make({1, 300, 16, 40, 16, 4, 1}, at::kDouble);
  expect_autograd(1e-12);
  make({2, 300, 16, 40, 16, 4, 1}, at::kFloat);
  expect_autograd(3e-6);
}

TEST_F(MambaBlockTest, AddsTheGradientsOfEveryMicroBatchToThoseOfAutograd) {
  constexpr std::size_t kNumMicroBatches = 4;
  make({2, 66, 4, 20, 4, 4, 2}, at::kDouble);
  const std::vector<Parameter*> parameters = layer_->parameters();
  std::array<Saved, kNumMicroBatches> saved;
  std::vector<at::Tensor> sums;
  forget_gradients(parameters);
  for (Saved& one : saved) {
    const at::Tensor input = case_.input(dtype_, random_);
    forward_of(*layer_, input, one);
    input_gradient_of(*layer_, grad_output_, one);
    const Results alone = run_autograd(case_.reference, parameters, input, grad_output_);
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      sums.resize(parameters.size());
      sums[i] =
          sums[i].defined() ? sums[i].add(alone.grad_parameters[i]) : alone.grad_parameters[i];
    }
  }
  for (const Parameter* parameter : parameters) {
    EXPECT_FALSE(parameter->has_gradient) << parameter->name << " before the first W";
  }
  for (Saved& one : saved) {
    weight_gradients_of(*layer_, one);
  }
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_LT(relative_error(parameters[i]->gradient, sums[i]), 1e-12) << parameters[i]->name;
  }
}

}  // namespace
}  // namespace halfback
