// Batch norm over several micro-batches: statistics of each alone, running statistics that move
// once a micro-batch, in W.
#include "halfback/layers/batch_norm.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/image_references.h"
#include "tests/support/layer_checks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace halfback {
namespace {

constexpr std::size_t kNumMicroBatches = 3;
constexpr std::int64_t kChannels = 5;
enum { kWeight, kBias, kRunningMean, kRunningVariance, kNumBatches };

class BatchNormTest : public testing::Test {
 protected:
  BatchNormTest() {
    give_memory(norm_.parameters(), at::kDouble, random_);
    start();
  }

  // Statistics as training starts.
  void start() {
    value(kRunningMean).zero_();
    value(kRunningVariance).fill_(1.0);
    value(kNumBatches).zero_();
    forget_gradients(norm_.parameters());
  }

  at::Tensor& value(int parameter) {
    return norm_.parameters()[static_cast<std::size_t>(parameter)]->value;
  }

  // Far from mean 0 and variance 1, and other ones in each micro-batch.
  static at::Tensor input(std::size_t micro_batch) {
    const auto number = static_cast<double>(micro_batch + 1);
    return Random(kSeed + micro_batch).normal({4, kChannels, 3, 2}, at::kDouble) * number + number;
  }

  static at::Tensor gradient(std::size_t micro_batch) {
    return Random(kSeed + 10 + micro_batch).normal({4, kChannels, 3, 2}, at::kDouble);
  }

  void act(const std::string& actions) {
    for (std::size_t i = 0; i + 1 < actions.size(); i += 3) {
      const auto micro_batch = static_cast<std::size_t>(actions[i + 1] - '0');
      Saved& saved = saved_.at(micro_batch);
      if (actions[i] == 'F') {
        forward_of(norm_, input(micro_batch), saved);
      } else if (actions[i] == 'I') {
        grad_inputs_.at(micro_batch) = input_gradient_of(norm_, gradient(micro_batch), saved);
      } else {
        weight_gradients_of(norm_, saved);
      }
    }
  }

  Random random_;
  BatchNorm norm_{"bn", {.num_channels = kChannels}};
  std::array<Saved, kNumMicroBatches> saved_;
  std::array<at::Tensor, kNumMicroBatches> grad_inputs_;
};

TEST_F(BatchNormTest, MicroBatchesInFlightHaveTheirOwnStatistics) {
  act("F0 F1 F2 I0 I1 I2 W0 W1 W2");
  std::array<at::Tensor, 2> sums = {at::zeros({kChannels}, at::kDouble),
                                    at::zeros({kChannels}, at::kDouble)};
  for (std::size_t i = 0; i < kNumMicroBatches; ++i) {
    const Results expected = run_autograd(
        [](const Values& values, const at::Tensor& x) {
          return batch_norm_reference(values[0], values[1], x, 1e-5);
        },
        norm_.parameters(), input(i), gradient(i));
    EXPECT_LT(relative_error(grad_inputs_[i], expected.grad_input), 1e-12) << i;
    sums[0] += expected.grad_parameters[0];
    sums[1] += expected.grad_parameters[1];
  }
  const std::vector<at::Tensor> gradients = copy_gradients(norm_.parameters());
  EXPECT_LT(relative_error(gradients[0], sums[0]), 1e-12);
  EXPECT_LT(relative_error(gradients[1], sums[1]), 1e-12);
}

// torch counts a micro-batch when its forward runs.
TEST_F(BatchNormTest, RunningStatisticsEqualTorchs) {
  at::Tensor mean = at::zeros({kChannels}, at::kDouble);
  at::Tensor variance = at::ones({kChannels}, at::kDouble);
  for (int step = 0; step < 4; ++step) {
    act("F0 F1 I0 F2 I1 W0 I2 W1 W2");
    for (std::size_t i = 0; i < kNumMicroBatches; ++i) {
      at::batch_norm(input(i), value(kWeight), value(kBias), mean, variance, /*training=*/true, 0.1,
                     1e-5, /*cudnn_enabled=*/false);
    }
  }
  EXPECT_LT(relative_error(value(kRunningMean), mean), 1e-13);
  EXPECT_LT(relative_error(value(kRunningVariance), variance), 1e-13);
  EXPECT_EQ(value(kNumBatches).item<double>(), 12.0);
}

TEST_F(BatchNormTest, RunningStatisticsMoveInWAloneAndInItsOrder) {
  act("F0 F1 F2 I0 I1 I2");
  EXPECT_TRUE(value(kRunningMean).equal(at::zeros({kChannels}, at::kDouble)));
  EXPECT_TRUE(value(kRunningVariance).equal(at::ones({kChannels}, at::kDouble)));
  EXPECT_EQ(value(kNumBatches).item<double>(), 0.0);
  act("W0 W1 W2");
  const at::Tensor mean = value(kRunningMean).clone();
  const at::Tensor variance = value(kRunningVariance).clone();
  start();
  act("F2 F1 F0 F0 I2 F1 I0 I1 W0 W1 W2");  // F again, as recomputation does
  EXPECT_TRUE(same_bits(value(kRunningMean), mean));
  EXPECT_TRUE(same_bits(value(kRunningVariance), variance));
  EXPECT_EQ(value(kNumBatches).item<double>(), 3.0);
  start();
  act("F0 F1 F2 I0 I1 I2 W2 W1 W0");
  EXPECT_FALSE(same_bits(value(kRunningMean), mean));
}

TEST_F(BatchNormTest, ReadsRunningStatisticsWithoutTraining) {
  act("F0 I0 W0 F1 I1 W1");
  const at::Tensor mean = value(kRunningMean).clone();
  const at::Tensor variance = value(kRunningVariance).clone();
  Saved saved;
  const at::Tensor found = forward_of(norm_, input(2), saved, {.is_training = false});
  const at::Tensor expected =
      at::batch_norm(input(2), value(kWeight), value(kBias), mean, variance, /*training=*/false,
                     0.1, 1e-5, /*cudnn_enabled=*/false);
  EXPECT_LT(relative_error(found, expected), 1e-13);
  EXPECT_TRUE(saved.is_empty());
  EXPECT_TRUE(same_bits(value(kRunningMean), mean));
  EXPECT_EQ(value(kNumBatches).item<double>(), 2.0);
}

TEST_F(BatchNormTest, ItsGradientsAreRightAfterTraining) {
  act("F0 I0 W0 F1 I1 W1 F2 I2 W2");
  value(kWeight).mul_(-3.0);
  value(kBias).add_(2.0);
  const auto reference = [](const Values& values, const at::Tensor& x) {
    return at::relu(batch_norm_reference(values[0], values[1], x, 1e-5));
  };
  BatchNorm with_relu("bn", {.num_channels = kChannels, .has_relu = true});
  give_memory(with_relu.parameters(), at::kDouble, random_);
  with_relu.parameters()[0]->value.copy_(value(kWeight));
  with_relu.parameters()[1]->value.copy_(value(kBias));
  const Results found = run_layer(with_relu, input(0), gradient(0));
  const Results expected = run_autograd(reference, with_relu.parameters(), input(0), gradient(0));
  EXPECT_LT(relative_error(found.output, expected.output), 1e-12);
  EXPECT_LT(relative_error(found.grad_input, expected.grad_input), 1e-12);
  EXPECT_LT(relative_error(found.grad_parameters[0], expected.grad_parameters[0]), 1e-12);
}

TEST_F(BatchNormTest, IsExactFarFromZero) {
  BatchNorm norm("bn", {.num_channels = 1});
  give_memory(norm.parameters(), at::kFloat, random_);
  const at::Tensor x = random_.normal({8, 1, 4, 4}, at::kDouble) + 1e4;
  Saved saved;
  const at::Tensor found = forward_of(norm, x.to(at::kFloat), saved);
  const at::Tensor expected = batch_norm_reference(norm.parameters()[0]->value.to(at::kDouble),
                                                   norm.parameters()[1]->value.to(at::kDouble),
                                                   x.to(at::kFloat).to(at::kDouble), 1e-5);
  EXPECT_LT(relative_error(found.to(at::kDouble), expected), 1e-3);
}

TEST_F(BatchNormTest, RefusesToTrainOnOneValue) {
  Saved saved;
  const std::string text = text_of_thrown<ConfigError>([&] {
    forward_of(norm_, at::ones({1, kChannels, 1, 1}, at::kDouble), saved);
  });
  EXPECT_EQ(text,
            "model: bn.weight gets one value for each of its 5 channels; the statistics of a batch "
            "norm need 2 or more; use larger micro-batches or images");
}

}  // namespace
}  // namespace halfback
