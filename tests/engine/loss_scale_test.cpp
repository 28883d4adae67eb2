// Loss scaling: powers of two change no bit in float32; in float16 it is what keeps gradients
// finite, and a step that overflows leaves everything but the scale as it was.
#include "halfback/engine/loss_scale.h"

#include "halfback/engine/plain_run.h"
#include "tests/support/small_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace halfback::testing {
namespace {

constexpr std::uint64_t kSeed = 42;
constexpr double kRate = 3e-3;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(LossScaleTest, HalvesWhereGradientsOverflowAndDoublesAfterManyGoodSteps) {
  LossScale scale({.initial = 1024.0, .is_dynamic = true});
  EXPECT_FALSE(scale.skips(1e30));
  EXPECT_TRUE(scale.skips(kInfinity));
  EXPECT_TRUE(scale.skips(std::nan("")));
  scale.finish_step(true);
  EXPECT_EQ(scale.state(), (LossScaleState{512.0, 0, 1}));
  EXPECT_EQ(scale.update_number(7), 6);
  for (int step = 1; step < 2000; ++step) {
    scale.finish_step(false);
  }
  EXPECT_EQ(scale.state(), (LossScaleState{512.0, 1999, 1}));
  scale.finish_step(false);
  EXPECT_EQ(scale.state(), (LossScaleState{1024.0, 0, 1}));
}

TEST(LossScaleTest, BlamesAScaleOfOneForNothing) {
  LossScale scale({.initial = 2.0, .is_dynamic = true});
  scale.finish_step(true);
  EXPECT_EQ(scale.value(), 1.0);
  EXPECT_FALSE(scale.skips(kInfinity));
}

TEST(LossScaleTest, OneThatIsNotDynamicStays) {
  LossScale scale({.initial = 8.0});
  EXPECT_FALSE(scale.skips(kInfinity));
  scale.finish_step(false);
  EXPECT_EQ(scale.state(), (LossScaleState{.value = 8.0}));
  scale.restore({.value = 64.0, .good_steps = 3, .skipped_steps = 2});
  EXPECT_EQ(scale.value(), 8.0);
  EXPECT_EQ(scale.update_number(5), 3);
}

PipelineOptions float16(const LossScaleOptions& loss_scale) {
  PipelineOptions options = parity_options();
  options.stage.product_dtype = at::kHalf;
  options.update.loss_scale = loss_scale;
  return options;
}

PlainRun plain(const PipelineOptions& options) {
  const LlamaConfig config = small_llama();
  PlainRun run(std::move(build_llama(config, {static_cast<int>(config.num_layers)}).front()),
               options.stage, options.update);
  run.initialize(kSeed);
  return run;
}

StepResult step_of(Pipeline& pipeline, std::int64_t step) {
  return pipeline.train_step(make_batches({.num_micro_batches = 4}, step),
                             {.number = step, .learning_rate = kRate});
}

TEST(LossScalingTest, APowerOfTwoLeavesTheBitsOfFloat32) {
  PipelineOptions scaled = parity_options();
  scaled.update.loss_scale.initial = 1024.0;
  const auto expected = make_pipeline(PipelineRequest{});
  const auto found = make_pipeline(PipelineRequest{}, scaled);
  for (std::int64_t step = 1; step <= 3; ++step) {
    const StepResult one = step_of(*expected, step);
    const StepResult other = step_of(*found, step);
    EXPECT_EQ(other.loss, one.loss);
    EXPECT_EQ(other.gradient_norm, one.gradient_norm);
    EXPECT_EQ(other.loss_scale, 1024.0);
    EXPECT_TRUE(bytes_of(*found, Buffer::Gradients) == bytes_of(*expected, Buffer::Gradients));
    EXPECT_TRUE(bytes_of(*found, Buffer::Values) == bytes_of(*expected, Buffer::Values));
  }
}

TEST(LossScalingTest, Float16IsNearFloat32AndNotIt) {
  PlainRun exact = plain(parity_options());
  PlainRun found = plain(float16({.initial = 65536.0, .is_dynamic = true}));
  const auto batches = make_batches({.num_micro_batches = 4}, 1);
  const auto expected = exact.accumulate_gradients(batches);
  const auto result = found.accumulate_gradients(batches);
  EXPECT_NEAR(result.loss, expected.loss, 2e-3 * expected.loss);
  EXPECT_NE(result.loss, expected.loss);
  EXPECT_LT(relative_difference(numbers_of(found.stage(), Buffer::Gradients),
                                numbers_of(exact.stage(), Buffer::Gradients)),
            1e-2);
}

// The first scale is far too large: some steps are skipped, the rest train.
TEST(LossScalingTest, Float16HasTheBitsOfThePlainRunOnEverySchedule) {
  const PipelineOptions options = float16({.initial = 0x1p24, .is_dynamic = true});
  for (const PipelineRequest& request :
       {PipelineRequest{"1f1b", 1, 4, true}, PipelineRequest{"1f1b-2", 2, 4, true},
        PipelineRequest{"gpipe", 3, 4, false}, PipelineRequest{"zb-v", 2, 4, true}}) {
    SCOPED_TRACE(request.schedule + " on " + std::to_string(request.num_ranks));
    PlainRun expected = plain(options);
    const auto found = make_pipeline(request, options);
    int num_skipped = 0;
    for (std::int64_t step = 1; step <= 12; ++step) {
      const std::string before = bytes_of(*found, Buffer::Values);
      const auto plain_step =
          expected.train_step(make_batches({.num_micro_batches = 4}, step), step, kRate);
      const StepResult result = step_of(*found, step);
      ASSERT_EQ(result.loss, plain_step.loss) << step;
      ASSERT_TRUE(std::isfinite(result.loss)) << step;
      ASSERT_EQ(result.was_skipped, !std::isfinite(result.gradient_norm)) << step;
      ASSERT_EQ(result.loss_scale, std::ldexp(1.0, 24 - num_skipped)) << step;
      if (result.was_skipped) {
        ++num_skipped;
        ASSERT_TRUE(bytes_of(*found, Buffer::Values) == before) << step;
      } else {
        ASSERT_EQ(result.gradient_norm, plain_step.gradient_norm) << step;
        ASSERT_FALSE(bytes_of(*found, Buffer::Values) == before) << step;
      }
      ASSERT_TRUE(bytes_of(*found, Buffer::Values) == bytes_of(expected.stage(), Buffer::Values))
          << step;
    }
    EXPECT_GE(num_skipped, 1);
    EXPECT_LE(num_skipped, 10);
    EXPECT_EQ(found->loss_scale().state().skipped_steps, num_skipped);
  }
}

// The optimizer too counts from the first update.
TEST(LossScalingTest, SkippedStepsAreAsIfTheyHadNotBeen) {
  const auto batches = make_batches({.num_micro_batches = 4}, 1);
  const auto found = make_pipeline(PipelineRequest{}, float16({0x1p24, /*is_dynamic=*/true}));
  StepResult last;
  std::int64_t step = 0;
  do {
    last = found->train_step(batches, {.number = ++step, .learning_rate = kRate});
  } while (last.was_skipped);
  ASSERT_GT(step, 1);
  const auto expected = make_pipeline(PipelineRequest{}, float16({last.loss_scale}));
  expected->train_step(batches, {.number = 1, .learning_rate = kRate});
  EXPECT_TRUE(bytes_of(*found, Buffer::Values) == bytes_of(*expected, Buffer::Values));
}

}  // namespace
}  // namespace halfback::testing
