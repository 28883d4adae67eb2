// Several micro-batches in flight: the halves of the backward may run in any order that a schedule
// allows, and the gradients do not change. Three micro-batches, because two addends commute.
#include "tests/support/layer_fixture.h"

#include <gtest/gtest.h>

#include <array>
#include <sstream>
#include <string>
#include <vector>

namespace halfback {
namespace {

constexpr std::size_t kNumMicroBatches = 3;
constexpr const char* kOneAtATime = "F0 I0 W0 F1 I1 W1 F2 I2 W2";

class LayerSplitTest : public LayerTest {
 protected:
  struct MicroBatch {
    at::Tensor input;
    at::Tensor grad_output;
    Saved saved = {};
    at::Tensor output = {};
    at::Tensor grad_input = {};
  };
  struct Outcome {
    std::vector<at::Tensor> outputs;
    std::vector<at::Tensor> grad_inputs;
    std::vector<at::Tensor> grad_parameters;
  };

  void SetUp() override {
    for (MicroBatch& one : micro_batches_) {
      one.input = case_.input(dtype_, random_);
      one.grad_output = case_.grad_output(*layer_, dtype_, random_);
    }
  }

  void act(const std::string& action) {
    if (action == "W*") {
      std::vector<Saved*> all;
      for (MicroBatch& one : micro_batches_) {
        all.push_back(&one.saved);
      }
      layer_->backward_weight(all);
      return;
    }
    MicroBatch& one = micro_batches_.at(static_cast<std::size_t>(action[1] - '0'));
    if (action[0] == 'F') {
      one.output = forward_of(*layer_, one.input, one.saved);
    } else if (action[0] == 'I') {
      one.grad_input = input_gradient_of(*layer_, one.grad_output, one.saved);
    } else {
      weight_gradients_of(*layer_, one.saved);
    }
  }

  // `actions` are F, I and W with the number of a micro-batch; W* is all of them concatenated.
  Outcome run(const std::string& actions) {
    forget_gradients(layer_->parameters());
    std::istringstream words(actions);
    for (std::string action; words >> action;) {
      act(action);
    }
    Outcome outcome{
        .outputs = {}, .grad_inputs = {}, .grad_parameters = copy_gradients(layer_->parameters())};
    for (const MicroBatch& one : micro_batches_) {
      outcome.outputs.push_back(one.output.clone());
      if (one.grad_input.defined()) {
        outcome.grad_inputs.push_back(one.grad_input.clone());
      }
    }
    return outcome;
  }

  static void expect_same_bits(const std::vector<at::Tensor>& actual,
                               const std::vector<at::Tensor>& expected,
                               const std::string& what) {
    ASSERT_EQ(actual.size(), expected.size()) << what;
    for (std::size_t i = 0; i < actual.size(); ++i) {
      EXPECT_TRUE(same_bits(actual[i], expected[i])) << what << " " << i;
    }
  }

  std::array<MicroBatch, kNumMicroBatches> micro_batches_;
};

TEST_P(LayerSplitTest, KeepsItsBitsInEveryOrderOfActions) {
  const Outcome expected = run(kOneAtATime);
  for (const char* actions :
       {"F0 F1 F2 I0 I1 I2 W0 W1 W2", "F0 F1 F2 I0 W0 I1 W1 I2 W2", "F0 F1 I0 F2 I1 W0 I2 W1 W2",
        "F0 F1 F2 I2 I1 I0 W0 W1 W2", "F2 F1 F0 I1 I0 W0 W1 I2 W2"}) {
    const Outcome actual = run(actions);
    expect_same_bits(actual.outputs, expected.outputs, std::string("outputs of ") + actions);
    expect_same_bits(actual.grad_inputs, expected.grad_inputs, std::string("I of ") + actions);
    expect_same_bits(actual.grad_parameters, expected.grad_parameters,
                     std::string("W of ") + actions);
  }
}

TEST_P(LayerSplitTest, AddsUpTheGradientsOfTheMicroBatches) {
  const double tolerance = dtype_ == at::kFloat ? 1e-6 : 1e-14;
  std::vector<at::Tensor> sums;
  for (const MicroBatch& one : micro_batches_) {
    const Results alone = run_layer(*layer_, one.input, one.grad_output);
    for (std::size_t i = 0; i < alone.grad_parameters.size(); ++i) {
      const at::Tensor gradient = alone.grad_parameters[i].to(at::kDouble);
      if (i < sums.size()) {
        sums[i] += gradient;
      } else {
        sums.push_back(gradient.clone());
      }
    }
  }
  const Outcome actual = run(kOneAtATime);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    EXPECT_LT(relative_error(actual.grad_parameters[i].to(at::kDouble), sums[i]), tolerance)
        << trained(layer_->parameters())[i]->name << ", seed " << kSeed;
  }
}

TEST_P(LayerSplitTest, ConcatenatedWeightGradientsEqualLoopedOnesToRounding) {
  const double tolerance = dtype_ == at::kFloat ? 1e-5 : 1e-13;
  const Outcome expected = run(kOneAtATime);
  const Outcome actual = run("F0 F1 F2 I0 I1 I2 W*");
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_LT(relative_error(actual.grad_parameters[i], expected.grad_parameters[i]), tolerance)
        << trained(layer_->parameters())[i]->name << ", seed " << kSeed;
  }
  for (const MicroBatch& one : micro_batches_) {
    for (const at::Tensor& kept : one.saved.until_weight) {
      EXPECT_FALSE(kept.defined());
    }
  }
}

// Other numbers of samples, other lengths, images of other sizes.
TEST_P(LayerSplitTest, ConcatenatesMicroBatchesOfDifferentShapes) {
  const double tolerance = dtype_ == at::kFloat ? 1e-5 : 1e-13;
  for (std::size_t i = 0; i < kNumMicroBatches; ++i) {
    const auto growth = static_cast<std::int64_t>(i);
    micro_batches_[i].input = case_.input(dtype_, random_, growth);
    micro_batches_[i].grad_output = case_.grad_output(*layer_, dtype_, random_, growth);
  }
  const Outcome expected = run(kOneAtATime);
  const Outcome actual = run("F0 F1 F2 I0 I1 I2 W*");
  expect_same_bits(actual.grad_inputs, expected.grad_inputs, "I");
  for (std::size_t i = 0; i < expected.grad_parameters.size(); ++i) {
    EXPECT_LT(relative_error(actual.grad_parameters[i], expected.grad_parameters[i]), tolerance)
        << trained(layer_->parameters())[i]->name << ", seed " << kSeed;
  }
}

TEST_P(LayerSplitTest, ConcatenatedWeightGradientsAddToEarlierOnes) {
  const double tolerance = dtype_ == at::kFloat ? 1e-5 : 1e-13;
  run("F0 F1 F2 I0 I1 I2 W*");
  const std::vector<at::Tensor> once = copy_gradients(layer_->parameters());
  for (const char* action : {"F0", "F1", "F2", "I0", "I1", "I2", "W*"}) {
    act(action);
  }
  const std::vector<at::Tensor> twice = copy_gradients(layer_->parameters());
  for (std::size_t i = 0; i < once.size(); ++i) {
    EXPECT_LT(relative_error(twice[i], once[i].mul(2)), tolerance)
        << trained(layer_->parameters())[i]->name;
  }
}

// Where nobody takes the gradient of the input, I may leave it out, in both forms of the backward.
TEST_P(LayerSplitTest, WeightGradientsDoNotDependOnWhoNeedsThatOfTheInput) {
  MicroBatch& one = micro_batches_[0];
  const Results expected = run_layer(*layer_, one.input, one.grad_output);
  const Call call{.needs_input = false};
  for (const bool is_fused : {false, true}) {
    forget_gradients(layer_->parameters());
    act("F0");
    const at::Tensor found = is_fused
                                 ? layer_->backward({one.grad_output}, one.saved, call).front()
                                 : input_gradient_of(*layer_, one.grad_output, one.saved, call);
    if (!is_fused) {
      act("W0");
    }
    EXPECT_TRUE(!found.defined() || same_bits(found, expected.grad_input)) << is_fused;
    expect_same_bits(copy_gradients(layer_->parameters()), expected.grad_parameters,
                     is_fused ? "B" : "W");
    EXPECT_TRUE(one.saved.is_empty()) << is_fused;
  }
}

TEST_P(LayerSplitTest, LeavesTensorsOfTheCallerAlone) {
  MicroBatch& one = micro_batches_[0];
  const at::Tensor input = one.input.clone();
  const at::Tensor grad_output = one.grad_output.clone();
  act("F0");
  const at::Tensor output = one.output.clone();
  act("I0");
  const at::Tensor grad_input = one.grad_input.defined() ? one.grad_input.clone() : at::Tensor();
  act("W0");
  EXPECT_TRUE(same_bits(one.input, input));
  EXPECT_TRUE(same_bits(one.grad_output, grad_output));
  EXPECT_TRUE(same_bits(one.output, output));
  EXPECT_TRUE(!grad_input.defined() || same_bits(one.grad_input, grad_input));
}

TEST_P(LayerSplitTest, StatesTheShapeOfItsOutput) {
  act("F0");
  EXPECT_EQ(
      micro_batches_[0].output.sizes().vec(),
      layer_->describe({case_.input_shape}, static_cast<std::int64_t>(at::elementSize(dtype_)))
          .shapes.front());
}

INSTANTIATE_TEST_SUITE_P(All, LayerSplitTest, in_both_types(all_cases()), typed_case_name);

}  // namespace
}  // namespace halfback
