// What a program needs that runs a pipeline of its own functions inside its own process.
#include "halfback/base/error.h"
#include "halfback/layers/autograd_loss.h"
#include "halfback/schedule/families.h"
#include "tests/support/foreign_modules.h"
#include "tests/support/small_model.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tanh.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace halfback::testing {
namespace {

constexpr std::int64_t kWidth = 6;
constexpr std::int64_t kVocabulary = 31;  // of make_batches
constexpr double kRate = 0.1;

at::Tensor drawn(at::IntArrayRef shape, std::uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed)).requires_grad_();
}

PipelineOptions guest_options() {
  PipelineOptions options;
  options.stage.optimizer = {.kind = OptimizerKind::Sgd, .weight_decay = 0.0, .momentum = 0.0};
  options.owns_process = false;
  options.threads_per_rank = 0;
  options.timeout_seconds = 10.0;
  return options;
}

RunnableSchedule schedule_of(int num_ranks, int num_micro_batches) {
  return make_runnable(
      build_schedule("1f1b", {.num_ranks = num_ranks, .num_micro_batches = num_micro_batches}));
}

std::unique_ptr<AutogradLoss> squares() {
  return std::make_unique<AutogradLoss>(
      ForeignLoss{.name = "squares", .forward = [](const auto& y, const auto& t, const Call&) {
                    return at::mse_loss(y, t, at::Reduction::Sum);
                  }});
}

std::unique_ptr<AutogradLoss> entropy() {
  return std::make_unique<AutogradLoss>(
      ForeignLoss{.name = "entropy", .forward = [](const auto& y, const auto& t, const Call&) {
                    return at::cross_entropy_loss(y.flatten(0, 1), t.flatten(), {},
                                                  at::Reduction::Sum, /*ignore_index=*/-1);
                  }});
}

// y = x w + mask, as many stages as weights; the mask, if there is one, is the stage's own input.
std::vector<StageLayers> linears(const Tensors& weights) {
  std::vector<StageLayers> stages(weights.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    ForeignModule module{.name = "stage " + std::to_string(i),
                         .forward = [w = weights[i]](const Tensors& inputs, const Call&) {
                           const at::Tensor y = at::linear(inputs.front(), w);
                           return Tensors{inputs.size() > 1 ? y + inputs[1] : y};
                         }};
    module.parameters = {{"weight", weights[i]}};
    using Input = AutogradLayer::Options::Input;
    stages[i].add(std::make_unique<AutogradLayer>(
        std::move(module),
        AutogradLayer::Options{.input = i == 0 ? Input::Data : Input::Activations}));
  }
  stages.back().loss = squares();
  return stages;
}

std::vector<MicroBatch> numbers(int count) {
  std::vector<MicroBatch> all;
  for (int i = 0; i < count; ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    all.push_back({.inputs = {drawn({3, kWidth}, 100 + seed).detach()},
                   .targets = drawn({3, kWidth}, 200 + seed).detach(),
                   .count = 3});
  }
  return all;
}

TEST(LibraryTest, TargetsMayBeNumbersAndCountAsTheCallerSays) {
  const Tensors weights = {drawn({kWidth, kWidth}, 1), drawn({kWidth, kWidth}, 2)};
  const std::vector<MicroBatch> batches = numbers(4);
  at::Tensor sum = at::zeros({});
  for (const MicroBatch& one : batches) {
    const at::Tensor y = at::linear(at::linear(one.inputs[0], weights[0]), weights[1]);
    const at::Tensor loss = at::mse_loss(y, one.targets, at::Reduction::Sum);
    (loss / 12.0).backward();
    sum = sum + loss.detach();
  }
  Tensors expected;
  for (const at::Tensor& weight : weights) {
    expected.push_back(weight.grad().clone());
  }
  Pipeline pipeline(linears(weights), schedule_of(2, 4), guest_options());
  pipeline.initialize(1);
  const StepResult found = pipeline.accumulate_gradients(batches);
  EXPECT_FLOAT_EQ(static_cast<float>(found.loss), sum.item<float>() / 12.0F);
  for (int stage = 0; stage < 2; ++stage) {
    EXPECT_TRUE(pipeline.stage(stage).store().parameters()[0]->gradient.equal(
        expected[static_cast<std::size_t>(stage)]));
  }
}

TEST(LibraryTest, AStepWithoutTargetsHasNoGradientAndNoLoss) {
  std::vector<MicroBatch> batches = numbers(2);
  for (MicroBatch& one : batches) {
    one.inputs[0].zero_();
    one.targets.zero_();
    one.count = 0;
  }
  Pipeline pipeline(linears({drawn({kWidth, kWidth}, 1)}), schedule_of(1, 2), guest_options());
  pipeline.initialize(1);
  const StepResult found = pipeline.accumulate_gradients(batches);
  EXPECT_EQ(found.loss, 0.0);
  EXPECT_EQ(found.gradient_norm, 0.0);
}

// The same numbers enter at the second stage of two and at the only one.
TEST(LibraryTest, EachStageTakesItsOwnInputs) {
  const Tensors weights = {drawn({kWidth, kWidth}, 1), drawn({kWidth, kWidth}, 2)};
  std::vector<MicroBatch> batches = numbers(3);
  std::vector<double> losses;
  for (const bool has_mask : {false, true}) {
    for (MicroBatch& one : batches) {
      one.stage_inputs = {{}, has_mask ? Tensors{at::ones({kWidth})} : Tensors{}};
    }
    Pipeline pipeline(linears({weights[0].detach().clone().requires_grad_(),
                               weights[1].detach().clone().requires_grad_()}),
                      schedule_of(2, 3), guest_options());
    pipeline.initialize(1);
    losses.push_back(pipeline.accumulate_gradients(batches).loss);
    EXPECT_EQ(pipeline.evaluate(batches).loss, losses.back());
  }
  double expected = 0.0;
  for (const MicroBatch& one : batches) {
    const at::Tensor y = at::linear(at::linear(one.inputs[0], weights[0]), weights[1]) + 1.0;
    expected += at::mse_loss(y, one.targets, at::Reduction::Sum).item<double>();
  }
  EXPECT_EQ(losses[1], expected / 9.0);
  EXPECT_NE(losses[0], losses[1]);
}

// Stages 0, 1, 2 and 3: (x) -> (h, h), (h, s) -> (h', s + h'), (h, s) -> (s, h'), (h, s) -> h' s,
// where h' = tanh(h w). Two tensors with gradients pass each boundary.
at::Tensor with_skips(int stage, Tensors& tensors, const at::Tensor& weight) {
  at::Tensor h = at::tanh(at::linear(tensors[0], weight));
  switch (stage) {
    case 0:
      tensors = {h, h};
      break;
    case 1:
      tensors = {h, tensors[1] + h};
      break;
    case 2:
      tensors = {tensors[1], h};
      break;
    default:
      h = h * tensors[1];
      tensors = {h};
  }
  return h;
}

TEST(LibraryTest, SeveralTensorsWithGradientsPassBetweenStages) {
  constexpr int kStages = 4;
  Tensors initial;
  for (int i = 0; i < kStages; ++i) {
    initial.push_back(drawn({kWidth, kWidth}, static_cast<std::uint64_t>(i)));
  }
  const std::vector<MicroBatch> batches = numbers(4);
  for (const MicroBatch& one : batches) {
    Tensors tensors = one.inputs;
    for (int i = 0; i < kStages; ++i) {
      with_skips(i, tensors, initial[static_cast<std::size_t>(i)]);
    }
    (at::mse_loss(tensors[0], one.targets, at::Reduction::Sum) / 12.0).backward();
  }
  for (const auto& [family, ranks] : {std::pair{"1f1b", 4}, {"zb-h1", 4}, {"zb-v", 2}}) {
    Tensors weights;
    std::vector<StageLayers> stages(kStages);
    for (int i = 0; i < kStages; ++i) {
      const auto index = static_cast<std::size_t>(i);
      weights.push_back(initial[index].detach().clone().requires_grad_());
      ForeignModule module{.name = "stage " + std::to_string(i),
                           .forward = [i, w = weights[index]](Tensors tensors, const Call&) {
                             with_skips(i, tensors, w);
                             return tensors;
                           }};
      module.parameters = {{"weight", weights[index]}};
      using Options = AutogradLayer::Options;
      stages[index].add(std::make_unique<AutogradLayer>(
          std::move(module),
          Options{.input = i == 0 ? Options::Input::Data : Options::Input::Activations,
                  .gradients = Options::Gradients::Floating}));
    }
    stages.back().loss = squares();
    const RunnableSchedule schedule =
        make_runnable(build_schedule(family, {.num_ranks = ranks, .num_micro_batches = 4}));
    Pipeline pipeline(std::move(stages), schedule, guest_options());
    pipeline.initialize(1);
    pipeline.accumulate_gradients(batches);
    for (int i = 0; i < kStages; ++i) {
      EXPECT_TRUE(pipeline.stage(i).store().parameters()[0]->gradient.equal(
          initial[static_cast<std::size_t>(i)].grad()))
          << family << " " << i;
      EXPECT_TRUE(pipeline.stage(i).is_idle());
    }
  }
}

// The table of embedding and head, each stage with a tensor of its own.
std::vector<StageLayers> tied(int num_stages, const at::Tensor& table) {
  std::vector<StageLayers> stages(static_cast<std::size_t>(num_stages));
  const at::Tensor copy = table.detach().clone().requires_grad_();
  ForeignModule embedding{.name = "embedding", .forward = [table](const auto& x, const Call&) {
                            return Tensors{at::embedding(table, x.front())};
                          }};
  embedding.parameters = {{"weight", table}};
  ForeignModule head{.name = "head", .forward = [copy](const Tensors& x, const Call&) {
                       return Tensors{at::linear(x.front(), copy)};
                     }};
  head.parameters = {{"weight", copy, "embedding.weight"}};
  stages.front().add(std::make_unique<AutogradLayer>(
      std::move(embedding), AutogradLayer::Options{.input = AutogradLayer::Options::Input::Ids}));
  stages.back().add(std::make_unique<AutogradLayer>(std::move(head)));
  stages.back().loss = entropy();
  return stages;
}

TEST(LibraryTest, TiedTensorsHaveTheSumOfTheirGradientsAndStayEqual) {
  const at::Tensor initial = drawn({kVocabulary, kWidth}, 3).detach();
  at::Tensor whole = initial.clone().requires_grad_();
  const auto batches = make_batches({.num_micro_batches = 4});
  double count = 0;
  for (const MicroBatch& one : batches) {
    count += static_cast<double>(one.targets.numel());
  }
  for (int step = 0; step < 2; ++step) {
    // First the sum of the table's own gradients, then that of the head's.
    at::Tensor copy = whole.detach().clone().requires_grad_();
    whole.mutable_grad().reset();
    for (const MicroBatch& one : batches) {
      const at::Tensor y = at::linear(at::embedding(whole, one.inputs[0]), copy);
      const at::Tensor loss = at::cross_entropy_loss(y.flatten(0, 1), one.targets.flatten(), {},
                                                     at::Reduction::Sum, -1);
      (loss / count).backward();
    }
    whole = (whole.detach() - kRate * (whole.grad() + copy.grad())).requires_grad_();
  }
  for (const int num_stages : {1, 2}) {
    Pipeline pipeline(tied(num_stages, initial.clone().requires_grad_()),
                      schedule_of(num_stages, 4), guest_options());
    pipeline.initialize(1);
    for (int step = 1; step <= 2; ++step) {
      pipeline.train_step(batches, {.number = step, .learning_rate = kRate});
    }
    for (const LocalStage& local : pipeline.local_stages()) {
      for (const Parameter* const parameter : local.stage->store().parameters()) {
        EXPECT_TRUE(parameter->value.allclose(whole, 1e-6, 1e-6)) << num_stages;
      }
    }
    EXPECT_TRUE(pipeline.stage(0).store().parameters()[0]->value.equal(
        pipeline.stage(num_stages - 1).store().parameters().back()->value));
  }
}

// Calls `watch` in every F.
std::vector<StageLayers> watched(int num_stages, const std::function<void()>& watch) {
  std::vector<StageLayers> stages(static_cast<std::size_t>(num_stages));
  for (int i = 0; i < num_stages; ++i) {
    const at::Tensor weight = drawn({kWidth, kWidth}, static_cast<std::uint64_t>(i));
    ForeignModule module{.name = "stage " + std::to_string(i),
                         .forward = [weight, watch](const Tensors& inputs, const Call&) {
                           watch();
                           return Tensors{at::linear(inputs.front(), weight)};
                         }};
    module.parameters = {{"weight", weight}};
    stages[static_cast<std::size_t>(i)].add(std::make_unique<AutogradLayer>(std::move(module)));
  }
  stages.back().loss = squares();
  return stages;
}

TEST(LibraryTest, OneRankRunsOnTheThreadOfTheCaller) {
  for (const int num_ranks : {1, 2}) {
    std::mutex mutex;
    std::set<std::thread::id> seen;
    Pipeline pipeline(watched(num_ranks,
                              [&] {
                                const std::lock_guard lock(mutex);
                                seen.insert(std::this_thread::get_id());
                              }),
                      schedule_of(num_ranks, 2), guest_options());
    pipeline.initialize(1);
    pipeline.accumulate_gradients(numbers(2));
    EXPECT_EQ(seen.size(), static_cast<std::size_t>(num_ranks));
    EXPECT_EQ(seen.contains(std::this_thread::get_id()), num_ranks == 1);
  }
}

TEST(LibraryTest, AnErrorOfAFunctionIsNestedInTheOneThatSaysWhere) {
  for (const int num_ranks : {1, 2}) {
    Pipeline pipeline(watched(num_ranks, [] { throw std::out_of_range("no such row"); }),
                      schedule_of(num_ranks, 2), guest_options());
    pipeline.initialize(1);
    try {
      pipeline.accumulate_gradients(numbers(2));
      FAIL();
    } catch (const Error& error) {
      EXPECT_STREQ(error.what(), "rank 0, position 0, 0F0: no such row");
      EXPECT_THROW(std::rethrow_if_nested(error), std::out_of_range);
    }
  }
}

TEST(LibraryTest, StatisticsAreTheFunctionsBetweenSteps) {
  const at::Tensor weight = drawn({kWidth, kWidth}, 1);
  at::Tensor mean = at::ones({kWidth});
  ForeignModule module{.name = "norm",
                       .forward = [weight, mean](const Tensors& inputs, const Call& call) mutable {
                         const at::Tensor own = inputs[0].detach().mean({0});
                         if (call.is_training) {
                           mean.mul_(0.5).add_(own, 0.5);
                         }
                         return Tensors{at::linear(inputs.front() - mean, weight)};
                       }};
  module.parameters = {{"weight", weight}};
  module.statistics = {{"mean", mean, 0.5}};
  auto owned = std::make_unique<AutogradLayer>(std::move(module));
  AutogradLayer& layer = *owned;
  std::vector<StageLayers> stages(1);
  stages[0].add(std::move(owned));
  stages[0].loss = squares();
  Pipeline pipeline(std::move(stages), schedule_of(1, 1), guest_options());
  pipeline.initialize(1);
  layer.use_memory_of_engine();
  EXPECT_EQ(weight.const_data_ptr(),
            pipeline.stage(0).store().parameters()[0]->value.const_data_ptr());

  const std::vector<MicroBatch> batches = numbers(1);
  pipeline.accumulate_gradients(batches);
  layer.show_statistics();
  EXPECT_TRUE(mean.equal(0.5 * at::ones({kWidth}) + 0.5 * batches[0].inputs[0].mean({0})));
  mean.fill_(3.0);
  layer.take_statistics();
  pipeline.accumulate_gradients(batches);
  layer.show_statistics();
  EXPECT_TRUE(mean.equal(1.5 * at::ones({kWidth}) + 0.5 * batches[0].inputs[0].mean({0})));
}

TEST(LibraryTest, ALossThatIsNoNumberIsRefused) {
  std::vector<StageLayers> stages = linears({drawn({kWidth, kWidth}, 1)});
  stages.back().loss = std::make_unique<AutogradLoss>(ForeignLoss{
      .name = "loss", .forward = [](const auto& y, const auto&, const Call&) { return y.sum(0); }});
  Pipeline pipeline(std::move(stages), schedule_of(1, 1), guest_options());
  pipeline.initialize(1);
  try {
    pipeline.accumulate_gradients(numbers(1));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("loss: it returned a tensor of 6 elements"));
  }
}

}  // namespace
}  // namespace halfback::testing
