// Every model in every way to run it: the bits of the plain run, the predicted bytes, gradients
// that finite differences confirm.
#include "tests/support/models.h"

#include "halfback/engine/plain_run.h"
#include "halfback/measure/synthetic.h"
#include "halfback/models/cut.h"
#include "halfback/models/model.h"
#include "halfback/simulate/memory_model.h"
#include "tests/support/small_model.h"
#include "tests/support/threads.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 4;
constexpr std::int64_t kNumSamples = 3;
constexpr int kNumMicroBatches = 4;

class ModelsTest : public ::testing::TestWithParam<NamedModel> {
 protected:
  const ModelConfig& config() const { return GetParam().config; }

  static PipelineOptions options() {
    PipelineOptions options = parity_options();
    options.stage.seed = 11;
    return options;
  }

  std::vector<MicroBatch> batches(std::int64_t step) const {
    std::vector<MicroBatch> all;
    for (int i = 0; i < kNumMicroBatches; ++i) {
      MicroBatch batch = synthetic_batch(config(), kNumSamples,
                                         static_cast<std::uint64_t>(step * kNumMicroBatches + i));
      all.push_back(std::move(batch));
      for (const at::Tensor& side : GetParam().side_inputs) {
        all.back().inputs.push_back(side);
      }
    }
    return all;
  }

  PlainRun plain(const PipelineOptions& options, at::ScalarType dtype = at::kFloat) const {
    return {std::move(build_model(config(), {num_blocks(config())}, {.dtype = dtype}).front()),
            options.stage, options.update};
  }

  std::unique_ptr<Pipeline> pipeline(const Schedule& schedule, const PipelineOptions& options) {
    auto made = std::make_unique<Pipeline>(
        build_model(config(), equal_cut(num_blocks(config()), schedule.num_stages()),
                    {.recompute = GetParam().recompute}),
        make_runnable(schedule), options);
    made->initialize(kSeed);
    return made;
  }

  static PipelineOptions mixed_precision() {
    PipelineOptions options = ModelsTest::options();
    options.stage.product_dtype = at::kBFloat16;
    return options;
  }

  void expect_bits(const PipelineRequest& request, const PipelineOptions& options) {
    SCOPED_TRACE(request.schedule + " on " + std::to_string(request.num_ranks));
    PlainRun expected = plain(options);
    expected.initialize(kSeed);
    const auto found = pipeline(schedule_of(request), options);
    for (std::int64_t step = 1; step <= kNumSteps; ++step) {
      const auto plain_step = expected.train_step(batches(step), step, 3e-3);
      const StepResult step_found =
          found->train_step(batches(step), {.number = step, .learning_rate = 3e-3});
      ASSERT_EQ(step_found.loss, plain_step.loss) << "step " << step;
      ASSERT_EQ(step_found.gradient_norm, plain_step.gradient_norm) << "step " << step;
      ASSERT_TRUE(bytes_of(*found, Buffer::Gradients) ==
                  bytes_of(expected.stage(), Buffer::Gradients))
          << "step " << step;
      ASSERT_TRUE(bytes_of(*found, Buffer::Values) == bytes_of(expected.stage(), Buffer::Values))
          << "step " << step;
    }
    EXPECT_EQ(found->evaluate(batches(9)), pipeline_of_one(expected, batches(9), options));
  }

  void expect_bytes(const PipelineRequest& request, const PipelineOptions& options) {
    SCOPED_TRACE(request.schedule);
    const Schedule schedule = schedule_of(request);
    const auto found = pipeline(schedule, options);
    const std::vector<MicroBatch> all = batches(1);
    const StepResult result = found->train_step(all, {.number = 1, .learning_rate = 1e-3});
    MicroBatchShape shape{.input_shape = input_shape(config(), kNumSamples)};
    for (const at::Tensor& side : GetParam().side_inputs) {
      shape.side_inputs.push_back(
          {side.sizes().vec(), static_cast<std::int64_t>(side.element_size())});
    }
    const auto stages =
        build_model(config(), equal_cut(num_blocks(config()), schedule.num_stages()),
                    {.recompute = GetParam().recompute});
    const std::vector<StageBytes> bytes = stage_bytes(stages, shape);
    const MemoryPrediction predicted = predict_memory(found->schedule(), {.stages = bytes});
    for (std::size_t rank = 0; rank < result.memory.size(); ++rank) {
      EXPECT_EQ(result.memory[rank].activations, predicted.peak[rank]) << "rank " << rank;
    }
    expect_measured(*found, all.front(), bytes);
  }

  // Counted while one micro-batch runs, they are those of the formulas. What I runs F again for
  // counts as until W, where formulas have it until I and as gradients.
  static void expect_measured(Pipeline& found,
                              const MicroBatch& batch,
                              const std::vector<StageBytes>& formulas) {
    Tensors statistics;
    for (const LocalStage& local : found.local_stages()) {
      statistics.push_back(local.stage->store().statistics().clone());
    }
    const std::string values = bytes_of(found, Buffer::Values);
    const std::vector<StageBytes> measured = found.measure_bytes(batch);
    EXPECT_EQ(bytes_of(found, Buffer::Values), values);
    for (const LocalStage& local : found.local_stages()) {
      EXPECT_TRUE(local.stage->store().statistics().equal(
          statistics[static_cast<std::size_t>(local.number)]));
    }
    for (std::size_t stage = 0; stage < measured.size(); ++stage) {
      const StageBytes& one = measured[stage];
      const StageBytes& other = formulas[stage];
      EXPECT_EQ(one.until_input + one.until_weight, other.until_input + other.until_weight);
      EXPECT_EQ(one.until_weight + one.gradients, other.until_weight + other.gradients);
      EXPECT_EQ(one.activation_message, other.activation_message);
      EXPECT_EQ(one.gradient_message, other.gradient_message);
      if (GetParam().recompute == Recompute{}) {
        EXPECT_EQ(one.until_input, other.until_input);
      }
    }
  }

  // What a pipeline on one rank, with the values of the plain run, says of the batches.
  Evaluation pipeline_of_one(PlainRun& run,
                             const std::vector<MicroBatch>& all,
                             const PipelineOptions& options) {
    const auto one = pipeline(schedule_of({.schedule = "gpipe", .num_ranks = 1}), options);
    const c10::InferenceMode no_graph;
    one->stage(0).store().values().copy_(run.stage().store().values());
    one->stage(0).store().statistics().copy_(run.stage().store().statistics());
    return one->evaluate(all);
  }

 private:
  // ATen's convolutions choose by the number of threads among algorithms with other roundings.
  const Threads one_{1};
};

TEST_P(ModelsTest, HasTheBitsOfThePlainRunOnEverySchedule) {
  for (const PipelineRequest& request :
       {PipelineRequest{"1f1b", 1, kNumMicroBatches, true},
        PipelineRequest{"1f1b-2", 2, kNumMicroBatches, true},
        PipelineRequest{"gpipe", 3, kNumMicroBatches, false},
        PipelineRequest{"zb-h1", 4, kNumMicroBatches, true},
        PipelineRequest{"zb-v", 2, kNumMicroBatches, true},
        PipelineRequest{"interleaved-1f1b", 2, kNumMicroBatches, true}}) {
    expect_bits(request, options());
    if (HasFatalFailure()) {
      return;
    }
  }
}

TEST_P(ModelsTest, HasTheBitsOfThePlainRunInMixedPrecision) {
  expect_bits({"1f1b-2", 2, kNumMicroBatches, true}, mixed_precision());
  expect_bits({"zb-v", 2, kNumMicroBatches, true}, mixed_precision());
}

TEST_P(ModelsTest, HasThePredictedBytes) {
  expect_bytes({"1f1b", 3, kNumMicroBatches, true}, options());
  expect_bytes({"gpipe", 2, kNumMicroBatches, true}, options());
  expect_bytes({"1f1b", 4, kNumMicroBatches, false}, options());
  expect_bytes({"zb-v", 2, kNumMicroBatches, true}, options());
  expect_bytes({"1f1b", 2, kNumMicroBatches, true}, mixed_precision());
}

// All but convolutional networks: ReLU, max-pool and norms over few samples bend too sharply for
// differences, so they are held against autograd elsewhere; and their bits depend on threads.
class SmoothModelsTest : public ModelsTest {};

TEST_P(SmoothModelsTest, HasItsBitsOnAnyNumberOfThreads) {
  for (const PipelineOptions& options : {ModelsTest::options(), mixed_precision()}) {
    PlainRun one = plain(options);
    one.initialize(kSeed);
    const auto expected = one.accumulate_gradients(batches(1));
    for (const int threads : {2, 3, 4}) {
      PlainRun several = plain(options);
      several.initialize(kSeed);
      const Threads some(threads);
      EXPECT_EQ(several.accumulate_gradients(batches(1)).loss, expected.loss) << threads;
      EXPECT_TRUE(bytes_of(several.stage(), Buffer::Gradients) ==
                  bytes_of(one.stage(), Buffer::Gradients))
          << threads;
    }
  }
}

// Near what float32 gives and not it.
TEST_P(SmoothModelsTest, RoundsOnlyProductsInMixedPrecision) {
  PlainRun full = plain(options());
  PlainRun mixed = plain(mixed_precision());
  full.initialize(kSeed);
  mixed.initialize(kSeed);
  const auto expected = full.accumulate_gradients(batches(1));
  const auto found = mixed.accumulate_gradients(batches(1));
  EXPECT_NEAR(found.loss, expected.loss, 0.01 * expected.loss);
  EXPECT_NE(found.loss, expected.loss);
  const at::Tensor& gradients = mixed.stage().store().gradients();
  EXPECT_EQ(gradients.scalar_type(), at::kFloat);
  const at::Tensor& expected_gradients = full.stage().store().gradients();
  EXPECT_LT(gradients.sub(expected_gradients).norm().item().toDouble(),
            0.05 * expected_gradients.norm().item().toDouble());
}

TEST_P(SmoothModelsTest, HasGradientsThatFiniteDifferencesConfirm) {
  constexpr double kStep = 1e-5;
  PipelineOptions options = ModelsTest::options();
  options.stage.dtype = at::kDouble;
  PlainRun run = plain(options, at::kDouble);
  run.initialize(kSeed);
  move_vectors(run.stage());
  std::vector<MicroBatch> all = batches(1);
  all.resize(2);
  for (MicroBatch& one : all) {
    if (one.inputs[0].is_floating_point()) {
      one.inputs[0] = one.inputs[0].to(at::kDouble);
    }
  }
  // Forward only, which costs a third of a step.
  const auto loss = [&] {
    const c10::InferenceMode no_graph;
    const StageLayers& model = run.stage().layers();
    double sum = 0.0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Call call{.key = micro_batch_key(options.stage.seed, 0, static_cast<int>(i))};
      Tensors tensors = all[i].inputs;
      for (const auto& layer : model.layers) {
        Saved dropped;
        tensors = layer->forward(std::move(tensors), dropped, call);
      }
      Saved dropped;
      sum += model.loss->forward(tensors.front(), all[i].targets, dropped, call);
    }
    return sum / static_cast<double>(num_targets(all));
  };
  EXPECT_EQ(run.accumulate_gradients(all).loss, loss());
  const std::vector<Parameter*> parameters = run.stage().store().parameters();
  std::vector<at::Tensor> gradients;
  for (const Parameter* parameter : parameters) {
    gradients.push_back(parameter->trains ? parameter->gradient.clone() : at::Tensor());
  }
  for (std::size_t p = 0; p < parameters.size(); ++p) {
    if (!parameters[p]->trains) {
      continue;
    }
    // A parameter and its copies change together.
    const auto set = [&](std::int64_t index, double value) {
      for (Parameter* const other : parameters) {
        if (other->name == parameters[p]->name) {
          other->value.mutable_data_ptr<double>()[index] = value;
        }
      }
    };
    const auto* values = parameters[p]->value.const_data_ptr<double>();
    const auto* gradient = gradients[p].const_data_ptr<double>();
    for (std::int64_t i = 0; i < parameters[p]->numel(); i += 1 + parameters[p]->numel() / 5) {
      const double value = values[i];
      set(i, value + kStep);
      const double above = loss();
      set(i, value - kStep);
      const double below = loss();
      set(i, value);
      EXPECT_NEAR(gradient[i], (above - below) / (2.0 * kStep), 1e-6)
          << parameters[p]->name << " " << i;
    }
  }
}

TEST_P(ModelsTest, EveryParameterMoves) {
  const auto found = pipeline(schedule_of({.schedule = "1f1b", .num_ranks = 2}), options());
  std::vector<const Parameter*> parameters;
  std::vector<at::Tensor> before;
  for (int stage = 0; stage < found->num_stages(); ++stage) {
    for (const Parameter* parameter : found->stage(stage).store().parameters()) {
      parameters.push_back(parameter);
      before.push_back(parameter->value.clone());
    }
  }
  found->train_step(batches(1), {.number = 1, .learning_rate = 1e-3});
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& one = *parameters[i];
    EXPECT_TRUE(!one.trains || one.gradient.abs().max().item<double>() > 0.0) << one.name;
    EXPECT_FALSE(one.value.equal(before[i])) << one.name;
  }
}

TEST_P(ModelsTest, CountsItsParameters) {
  std::int64_t sum = 0;
  for (const StageLayers& stage : build_model(config(), {num_blocks(config())})) {
    for (const Parameter* parameter : stage.parameters()) {
      sum += parameter->is_copy || !parameter->trains ? 0 : parameter->numel();
    }
  }
  EXPECT_EQ(num_parameters(config()), sum);
}

std::vector<NamedModel> smooth_models() {
  std::vector<NamedModel> all = small_models();
  std::erase_if(all, [](const NamedModel& one) {
    return std::holds_alternative<ResnetConfig>(one.config) ||
           std::holds_alternative<CnnConfig>(one.config);
  });
  return all;
}

INSTANTIATE_TEST_SUITE_P(All,
                         SmoothModelsTest,
                         ::testing::ValuesIn(smooth_models()),
                         [](const auto& one) { return one.param.name; });

INSTANTIATE_TEST_SUITE_P(All, ModelsTest, ::testing::ValuesIn(small_models()), [](const auto& one) {
  return one.param.name;
});

}  // namespace
}  // namespace halfback::testing
