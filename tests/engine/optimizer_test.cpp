// The fused optimizers against the formulas of their papers, written out.
#include "halfback/engine/optimizer.h"

#include "halfback/base/keyed_random.h"
#include "halfback/layers/linear.h"
#include "tests/support/parameter_numbers.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>

namespace halfback {
namespace {

// One weight that decays and one bias that does not.
struct Fixture {
  explicit Fixture(const OptimizerOptions& options)
      : layer("layer", {.num_inputs = 3, .num_outputs = 5, .has_bias = true}),
        store(layer.parameters(), {}),
        optimizer(make_optimizer(options, store, {0, store.values().numel()})) {
    store.initialize(3, testing::numbers_from(0, store));
  }

  void draw_gradients(std::uint64_t step) {
    for (const Parameter* parameter : store.parameters()) {
      auto* values = parameter->gradient.mutable_data_ptr<float>();
      for (std::int64_t i = 0; i < parameter->numel(); ++i) {
        const auto key = mixed_bits({step, static_cast<std::uint64_t>(parameter->numel() + i)});
        values[i] = static_cast<float>(to_unit_interval(key) - 0.5);
      }
    }
  }

  Linear layer;
  ParameterStore store;
  std::unique_ptr<Optimizer> optimizer;
};

// The state of one number under test.
struct Reference {
  double value = 0.0;
  double first = 0.0;
  double second = 0.0;
};

template <typename Update>
void expect_updates(const OptimizerOptions& options, Update update) {
  Fixture fixture(options);
  const auto& parameters = fixture.store.parameters();
  std::vector<std::vector<Reference>> expected;
  for (const Parameter* parameter : parameters) {
    const auto* values = parameter->value.const_data_ptr<float>();
    expected.emplace_back();
    for (std::int64_t i = 0; i < parameter->numel(); ++i) {
      expected.back().push_back({.value = values[i]});
    }
  }
  for (int step = 1; step <= 5; ++step) {
    fixture.draw_gradients(static_cast<std::uint64_t>(step));
    // Gradients are divided while they are applied; read them before.
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      const auto* gradients = parameters[p]->gradient.const_data_ptr<float>();
      for (std::size_t i = 0; i < expected[p].size(); ++i) {
        update(expected[p][i], static_cast<double>(gradients[i]) / 2.0,
               parameters[p]->decays ? options.weight_decay : 0.0, step);
      }
    }
    fixture.optimizer->step(fixture.store,
                            {.step = step, .learning_rate = 0.01, .gradient_divisor = 2.0});
  }
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    const auto* values = parameters[p]->value.const_data_ptr<float>();
    for (std::size_t i = 0; i < expected[p].size(); ++i) {
      EXPECT_NEAR(values[i], expected[p][i].value, 2e-6) << parameters[p]->name << " " << i;
    }
  }
}

TEST(OptimizerTest, AdamWFollowsItsPaper) {
  const OptimizerOptions options{.weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
  expect_updates(options, [&](Reference& one, double gradient, double decay, int step) {
    one.value -= 0.01 * decay * one.value;
    one.first = options.beta1 * one.first + (1.0 - options.beta1) * gradient;
    one.second = options.beta2 * one.second + (1.0 - options.beta2) * gradient * gradient;
    const double first = one.first / (1.0 - std::pow(options.beta1, step));
    const double second = one.second / (1.0 - std::pow(options.beta2, step));
    one.value -= 0.01 * first / (std::sqrt(second) + options.epsilon);
  });
}

// Of libtorch, which composes its update from single operators.
TEST(OptimizerTest, AdamWEqualsTorchs) {
  const OptimizerOptions options{.weight_decay = 0.1, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
  Fixture fixture(options);
  const std::vector<Parameter*>& parameters = fixture.store.parameters();
  std::vector<torch::optim::OptimizerParamGroup> groups;
  std::vector<at::Tensor> expected;
  for (const Parameter* parameter : parameters) {
    expected.push_back(parameter->value.clone().set_requires_grad(true));
    torch::optim::AdamWOptions own(0.01);
    own.betas({options.beta1, options.beta2}).eps(options.epsilon);
    own.weight_decay(parameter->decays ? options.weight_decay : 0.0);
    groups.emplace_back(std::vector{expected.back()},
                        std::make_unique<torch::optim::AdamWOptions>(own));
  }
  torch::optim::AdamW torchs(groups);
  for (int step = 1; step <= 8; ++step) {
    fixture.draw_gradients(static_cast<std::uint64_t>(step));
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      expected[p].mutable_grad() = parameters[p]->gradient.clone();
    }
    torchs.step();
    fixture.optimizer->step(fixture.store, {.step = step, .learning_rate = 0.01});
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      EXPECT_LT(parameters[p]->value.sub(expected[p].detach()).abs().max().item<double>(), 1e-6)
          << parameters[p]->name << ", step " << step;
    }
  }
}

TEST(OptimizerTest, SgdFollowsItsPaper) {
  const OptimizerOptions options{.kind = OptimizerKind::Sgd, .weight_decay = 0.05, .momentum = 0.9};
  expect_updates(options, [&](Reference& one, double gradient, double decay, int) {
    one.first = options.momentum * one.first + gradient + decay * one.value;
    one.value -= 0.01 * one.first;
  });
}

TEST(OptimizerTest, SgdWithoutMomentumFollowsTheGradient) {
  const OptimizerOptions options{.kind = OptimizerKind::Sgd, .weight_decay = 0.05, .momentum = 0.0};
  expect_updates(options, [&](Reference& one, double gradient, double decay, int) {
    one.value -= 0.01 * (gradient + decay * one.value);
  });
}

// Nesterov's step, as PyTorch writes it: the gradient at the place where momentum would lead.
TEST(OptimizerTest, NesterovLooksAStepAhead) {
  const OptimizerOptions options{
      .kind = OptimizerKind::Sgd, .weight_decay = 0.05, .momentum = 0.9, .is_nesterov = true};
  expect_updates(options, [&](Reference& one, double gradient, double decay, int) {
    const double decayed = gradient + decay * one.value;
    one.first = options.momentum * one.first + decayed;
    one.value -= 0.01 * (decayed + options.momentum * one.first);
  });
}

TEST(ParameterStoreTest, PaddingStaysZero) {
  Fixture fixture({});
  fixture.draw_gradients(1);
  fixture.optimizer->step(fixture.store, {.step = 1, .learning_rate = 0.1});
  double sum_of_parameters = 0.0;
  for (const Parameter* parameter : fixture.store.parameters()) {
    sum_of_parameters += parameter->value.abs().sum().item<double>();
  }
  EXPECT_NEAR(fixture.store.values().abs().sum().item<double>(), sum_of_parameters, 1e-6);
}

TEST(ParameterStoreTest, DecayingParametersComeFirst) {
  Fixture fixture({});
  EXPECT_EQ(fixture.store.num_decaying(), 64);  // 15 weights, padded
  EXPECT_EQ(fixture.store.values().numel(), 128);
}

}  // namespace
}  // namespace halfback
