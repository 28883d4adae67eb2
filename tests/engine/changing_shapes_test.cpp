// Integers ride with the activations through all stages, and shapes change from step to step and
// between the micro-batches of one step: the bits of the plain run, and the predicted bytes.
#include "halfback/engine/memory.h"
#include "halfback/engine/plain_run.h"
#include "halfback/models/bert.h"
#include "halfback/models/cut.h"
#include "halfback/schedule/families.h"
#include "halfback/simulate/memory_model.h"
#include "tests/support/small_model.h"
#include "tests/support/threads.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 4;
constexpr std::uint64_t kSeed = 42;

const BertConfig kModel{.num_layers = 8,
                        .width = 24,
                        .num_heads = 4,
                        .hidden = 40,
                        .sequence = 9,
                        .vocabulary = 31,
                        .norm_epsilon = 1e-5};

std::vector<StageLayers> build(int num_stages) {
  return build_bert(kModel, equal_cut(static_cast<int>(kModel.num_layers), num_stages));
}

// N and T of a micro-batch.
struct Size {
  std::int64_t num_samples;
  std::int64_t length;
};
Size size_of(int step, int micro_batch) {
  return {.num_samples = 1 + (step + 2 * micro_batch) % 3,
          .length = 4 + (3 * step + micro_batch) % 6};
}

// Token ids; behind them a mask with padding, and a number of each sample that nobody reads. As
// data, they belong to no rank.
MicroBatch make_batch(int step, int micro_batch) {
  const MemoryOwner owner(kNoRank);
  const auto [samples, length] = size_of(step, micro_batch);
  at::Generator generator =
      at::detail::createCPUGenerator(static_cast<std::uint64_t>(100 * step + micro_batch));
  const auto draw = [&, &samples = samples](std::int64_t columns) {
    return at::randint(kModel.vocabulary, {samples, columns}, generator, at::kLong);
  };
  at::Tensor mask = at::ones({samples, length}, at::kLong);
  mask.narrow(0, 0, 1).narrow(1, length - 1 - micro_batch % 2, 1).fill_(0);
  at::Tensor targets = at::full({samples, length}, -1, at::kLong);
  const std::int64_t masked = kModel.num_masked(kModel.sequence);
  targets.narrow(1, 0, masked).copy_(draw(masked));
  return {{draw(length), mask, at::full({samples}, micro_batch, at::kInt)}, targets};
}

std::vector<MicroBatch> make_batches_of(int num_micro_batches, int step) {
  std::vector<MicroBatch> all;
  for (int i = 0; i < num_micro_batches; ++i) {
    all.push_back(make_batch(step, i));
  }
  return all;
}

// What a rank holds is a sum over micro-batches, so each is predicted by itself, with the bytes of
// its shape, and the sums are taken along the whole list.
std::vector<std::int64_t> predicted_peaks(const Schedule& schedule, int step) {
  const std::vector<StageLayers> stages = build(schedule.num_stages());
  std::vector<MemoryPrediction> alone;
  for (int i = 0; i < schedule.num_micro_batches; ++i) {
    Schedule own = schedule;
    for (std::vector<Action>& list : own.ranks) {
      std::erase_if(list, [i](const Action& action) { return action.micro_batch != i; });
    }
    const auto [samples, length] = size_of(step, i);
    const std::vector<MicroBatchShape::SideInput> side_inputs = {
        {{samples, length}, sizeof(std::int64_t)}, {{samples}, sizeof(std::int32_t)}};
    alone.push_back(predict_memory(
        own, {.stages = stage_bytes(
                  stages, {.input_shape = {samples, length}, .side_inputs = side_inputs})}));
  }
  std::vector<std::int64_t> peaks;
  for (std::size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    std::vector<std::size_t> places(alone.size());
    std::vector<std::int64_t> held(alone.size());
    std::int64_t peak = 0;
    for (const Action& action : schedule.ranks[rank]) {
      const auto i = static_cast<std::size_t>(action.micro_batch);
      held[i] = alone[i].curve[rank][places[i]++];
      peak = std::max(peak, std::accumulate(held.begin(), held.end(), std::int64_t{0}));
    }
    peaks.push_back(peak);
  }
  return peaks;
}

// The plain run and an evaluation have two threads, and each rank has one: no bit depends on it.
class ChangingShapesTest : public ::testing::TestWithParam<PipelineRequest> {
 protected:
  static std::unique_ptr<Pipeline> make(const PipelineRequest& request,
                                        const PipelineOptions& options = parity_options()) {
    const Schedule schedule =
        build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                          .num_micro_batches = request.num_micro_batches,
                                          .two_stage = request.two_stage});
    auto pipeline =
        std::make_unique<Pipeline>(build(schedule.num_stages()), make_runnable(schedule), options);
    pipeline->initialize(kSeed);
    return pipeline;
  }

 private:
  const Threads two_{2};
};

TEST_P(ChangingShapesTest, HasTheBitsOfThePlainRunAndThePredictedBytes) {
  const int count = GetParam().num_micro_batches;
  PlainRun plain(std::move(build(1).front()), parity_options().stage, parity_options().update);
  plain.initialize(kSeed);
  const auto pipeline = make(GetParam());
  for (int step = 1; step <= kNumSteps; ++step) {
    SCOPED_TRACE(step);
    const std::vector<MicroBatch> batches = make_batches_of(count, step);
    const auto expected = plain.train_step(batches, step, 3e-3);
    const StepResult found = pipeline->train_step(batches, {.number = step, .learning_rate = 3e-3});
    ASSERT_EQ(found.loss, expected.loss);
    ASSERT_EQ(found.gradient_norm, expected.gradient_norm);
    ASSERT_TRUE(bytes_of(*pipeline, Buffer::Gradients) ==
                bytes_of(plain.stage(), Buffer::Gradients));
    ASSERT_TRUE(bytes_of(*pipeline, Buffer::Values) == bytes_of(plain.stage(), Buffer::Values));
    const std::vector<std::int64_t> predicted = predicted_peaks(pipeline->schedule(), step);
    for (std::size_t rank = 0; rank < predicted.size(); ++rank) {
      EXPECT_EQ(found.memory[rank].activations, predicted[rank]) << "rank " << rank;
    }
    for (int stage = 0; stage < pipeline->num_stages(); ++stage) {
      EXPECT_TRUE(pipeline->stage(stage).is_idle()) << stage;
    }
  }
}

TEST_P(ChangingShapesTest, EvaluatesAsOneRankDoes) {
  const std::vector<MicroBatch> batches = make_batches_of(7, 1);
  EXPECT_EQ(make(GetParam())->evaluate(batches),
            make({.schedule = "gpipe", .num_ranks = 1})->evaluate(batches));
}

TEST_P(ChangingShapesTest, ConcatenatesTheSameGradients) {
  PipelineOptions options = parity_options();
  options.stage.weight_gradients = WeightGradients::Concatenated;
  const auto concatenated = make(GetParam(), options);
  const auto looped = make(GetParam());
  const std::vector<MicroBatch> batches = make_batches_of(GetParam().num_micro_batches, 1);
  concatenated->accumulate_gradients(batches);
  looped->accumulate_gradients(batches);
  EXPECT_LT(relative_difference(numbers_of(*concatenated, Buffer::Gradients),
                                numbers_of(*looped, Buffer::Gradients)),
            1e-5);
}

INSTANTIATE_TEST_SUITE_P(Schedules,
                         ChangingShapesTest,
                         ::testing::Values(PipelineRequest{"naive", 3, 1, true},
                                           PipelineRequest{"gpipe", 4, 4, true},
                                           PipelineRequest{"1f1b", 4, 5, false},
                                           PipelineRequest{"1f1b-1", 3, 3, true},
                                           PipelineRequest{"1f1b-2", 3, 6, true},
                                           PipelineRequest{"1f1b-2-capped", 4, 8, true},
                                           PipelineRequest{"zb-h1", 4, 6, true},
                                           PipelineRequest{"zb-v", 2, 4, true},
                                           PipelineRequest{"interleaved-1f1b", 2, 4, true}),
                         [](const auto& one) {
                           std::string name = one.param.schedule;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace halfback::testing
