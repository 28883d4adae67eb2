// Models for images over schedules: the bits of the plain run, running statistics among them, and
// the predicted bytes.
#include "halfback/base/error.h"
#include "halfback/engine/memory.h"
#include "halfback/engine/plain_run.h"
#include "halfback/models/cut.h"
#include "halfback/models/mlp.h"
#include "halfback/models/resnet.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/simulate/memory_model.h"
#include "tests/support/errors.h"
#include "tests/support/small_model.h"
#include "tests/support/threads.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <functional>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 4;
constexpr double kLearningRate = 1e-2;
constexpr std::uint64_t kSeed = 42;
constexpr std::int64_t kNumClasses = 5;
const std::vector<std::int64_t> kShape = {3, 2, 9, 7};  // N, C, H, W of a micro-batch

struct ImageModel {
  std::string name;
  int num_blocks;
  std::function<std::vector<StageLayers>(const std::vector<int>&)> build;
};

ImageModel resnet(std::int64_t depth, bool has_small_stem) {
  const ResnetConfig config{.depth = depth,
                            .width = 3,
                            .num_classes = kNumClasses,
                            .image_channels = kShape[1],
                            .image_height = kShape[2],
                            .image_width = kShape[3],
                            .has_small_stem = has_small_stem};
  return {"ResNet " + std::to_string(depth), num_blocks(config),
          [=](const std::vector<int>& cut) { return build_resnet(config, cut); }};
}

ImageModel mlp() {
  const MlpConfig config{.num_layers = 4,
                         .num_inputs = kShape[1] * kShape[2] * kShape[3],
                         .width = 11,
                         .num_classes = kNumClasses};
  return {"MLP", 4, [=](const std::vector<int>& cut) { return build_mlp(config, cut); }};
}

std::vector<ImageModel> all_models() {
  return {resnet(18, true), resnet(18, false), resnet(50, true), mlp()};
}

// As data, they belong to no rank.
std::vector<MicroBatch> make_images(int num_micro_batches, int step) {
  const MemoryOwner owner(kNoRank);
  std::vector<MicroBatch> batches;
  for (int i = 0; i < num_micro_batches; ++i) {
    at::Generator generator =
        at::detail::createCPUGenerator(static_cast<std::uint64_t>(100 * step + i));
    batches.push_back({{at::randn(kShape, generator, at::TensorOptions(at::kFloat))},
                       at::randint(kNumClasses, {kShape[0]}, generator, at::kLong)});
  }
  return batches;
}

// ATen's convolutions choose by the number of threads among algorithms with other roundings.
class ImageModelsTest : public ::testing::Test {
 protected:
  static std::vector<PipelineRequest> requests() {
    return {{"naive", 2, 1, true},  {"gpipe", 1, 3, true},  {"gpipe", 3, 4, true},
            {"1f1b", 2, 4, false},  {"1f1b", 3, 5, true},   {"1f1b-1", 3, 3, true},
            {"1f1b-2", 2, 4, true}, {"1f1b-2", 3, 6, false}};
  }

  static std::unique_ptr<Pipeline> make(const ImageModel& model, const PipelineRequest& request) {
    const Schedule schedule =
        build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                          .num_micro_batches = request.num_micro_batches,
                                          .two_stage = request.two_stage});
    auto pipeline =
        std::make_unique<Pipeline>(model.build(equal_cut(model.num_blocks, schedule.num_stages())),
                                   make_runnable(schedule), parity_options());
    pipeline->initialize(kSeed);
    return pipeline;
  }

 private:
  const Threads one_{1};
};

TEST_F(ImageModelsTest, EveryScheduleHasTheBitsOfThePlainRun) {
  for (const ImageModel& model : all_models()) {
    for (const PipelineRequest& request : requests()) {
      SCOPED_TRACE(model.name + ", " + request.schedule + ", " + std::to_string(request.num_ranks) +
                   " ranks");
      PlainRun plain(std::move(model.build({model.num_blocks}).front()), parity_options().stage,
                     parity_options().update);
      plain.initialize(kSeed);
      const auto pipeline = make(model, request);
      for (int step = 1; step <= kNumSteps; ++step) {
        const auto batches = make_images(request.num_micro_batches, step);
        const auto expected = plain.train_step(batches, step, kLearningRate);
        const StepResult found =
            pipeline->train_step(batches, {.number = step, .learning_rate = kLearningRate});
        ASSERT_EQ(found.loss, expected.loss) << "step " << step;
        ASSERT_EQ(found.gradient_norm, expected.gradient_norm) << "step " << step;
        ASSERT_TRUE(bytes_of(*pipeline, Buffer::Gradients) ==
                    bytes_of(plain.stage(), Buffer::Gradients));
        ASSERT_TRUE(bytes_of(*pipeline, Buffer::Values) == bytes_of(plain.stage(), Buffer::Values));
      }
      for (int stage = 0; stage < pipeline->num_stages(); ++stage) {
        EXPECT_TRUE(pipeline->stage(stage).is_idle()) << stage;
      }
    }
  }
}

TEST_F(ImageModelsTest, CopiesOfRunningStatisticsAreRefused) {
  const ImageModel model = resnet(18, true);
  const Schedule schedule =
      data_parallel(build_schedule("gpipe", {.num_ranks = 1, .num_micro_batches = 2}), 2);
  EXPECT_TRUE(contains(text_of_thrown<ConfigError>([&] {
                         Pipeline(model.build({model.num_blocks}), make_runnable(schedule),
                                  parity_options());
                       }),
                       " is a running statistic, which would differ between replicas"));
}

TEST_F(ImageModelsTest, PredictsTheActivationPeakToTheByte) {
  for (const ImageModel& model : all_models()) {
    for (const PipelineRequest& request : requests()) {
      SCOPED_TRACE(model.name + ", " + request.schedule + ", " + std::to_string(request.num_ranks) +
                   " ranks");
      const auto pipeline = make(model, request);
      const std::vector<StageBytes> stages =
          stage_bytes(model.build(equal_cut(model.num_blocks, pipeline->num_stages())),
                      {.input_shape = kShape});
      const std::vector<std::int64_t> predicted =
          predict_memory(pipeline->schedule(), {.stages = stages}).peak;
      const StepResult found = pipeline->train_step(make_images(request.num_micro_batches, 1),
                                                    {.number = 1, .learning_rate = kLearningRate});
      for (std::size_t rank = 0; rank < predicted.size(); ++rank) {
        EXPECT_EQ(found.memory[rank].activations, predicted[rank]) << "rank " << rank;
      }
    }
  }
}

TEST_F(ImageModelsTest, ConcatenatedWeightGradientsAgreeWithinRounding) {
  PipelineOptions options = parity_options();
  options.stage.weight_gradients = WeightGradients::Concatenated;
  const ImageModel model = resnet(18, true);
  const PipelineRequest request{"gpipe", 2, 4, true};
  const auto looped = make(model, request);
  Pipeline concatenated(model.build(equal_cut(model.num_blocks, 2)),
                        make_runnable(looped->schedule()), options);
  concatenated.initialize(kSeed);
  looped->accumulate_gradients(make_images(4, 1));
  concatenated.accumulate_gradients(make_images(4, 1));
  EXPECT_LT(relative_difference(numbers_of(concatenated, Buffer::Gradients),
                                numbers_of(*looped, Buffer::Gradients)),
            1e-5);
  EXPECT_FALSE(bytes_of(concatenated, Buffer::Gradients) == bytes_of(*looped, Buffer::Gradients));
}

TEST_F(ImageModelsTest, EvaluationReadsRunningStatisticsWhateverTheCut) {
  const ImageModel model = resnet(18, true);
  std::vector<Evaluation> losses;
  for (const int ranks : {1, 2, 3}) {
    const auto pipeline = make(model, {"1f1b", ranks, 4, true});
    const auto batches = make_images(4, 1);
    const Evaluation before = pipeline->evaluate(batches);
    const std::string values = bytes_of(*pipeline, Buffer::Values);
    EXPECT_EQ(pipeline->evaluate(batches), before);
    EXPECT_TRUE(bytes_of(*pipeline, Buffer::Values) == values);
    pipeline->accumulate_gradients(batches);  // moves the statistics and nothing else
    losses.push_back(pipeline->evaluate(batches));
    EXPECT_NE(losses.back().loss, before.loss);
    EXPECT_EQ(losses.back(), losses.front());
  }
}

}  // namespace
}  // namespace halfback::testing
