// Operations of a step by formulas worked out by hand. A test in Python compares those of models
// with PyTorch's counter.
#include "halfback/measure/flop_costs.h"

#include "halfback/layers/linear.h"
#include "halfback/layers/recomputed.h"
#include "halfback/models/local_heads.h"
#include "halfback/models/model.h"
#include "halfback/schedule/families.h"

#include <gtest/gtest.h>

namespace halfback {
namespace {

constexpr std::int64_t kWidth = 16;
constexpr std::int64_t kClasses = 10;
constexpr std::int64_t kSamples = 4;
constexpr double kLayer = 2.0 * kSamples * kWidth * kWidth;
constexpr double kHead = 2.0 * kSamples * kWidth * kClasses;

// Four layers of as many inputs as outputs, on four stages.
StepFlops flops_of(const std::string& family, const PipelineShape& shape = {}) {
  PipelineShape whole = shape;
  whole.num_ranks = 4;
  whole.num_micro_batches = 8;
  whole.two_stage = false;
  const Schedule schedule = build_schedule(family, whole);
  const MlpConfig model{
      .num_layers = 4, .num_inputs = kWidth, .width = kWidth, .num_classes = kClasses};
  return step_flops(
      schedule, stage_flops(build_model(model, {1, 1, 1, 1},
                                        {.stages_with_loss = stages_with_loss(schedule.losses, 4)}),
                            input_shape(ModelConfig(model), kSamples)));
}

// The first layer has no gradient of its input.
constexpr double kBackpropStep = 8.0 * (4 * 3 * kLayer - kLayer + 3 * kHead);

TEST(FlopCostsTest, OfBackpropAreThreeForwards) {
  for (const char* family : {"gpipe", "1f1b"}) {
    EXPECT_EQ(flops_of(family).total, kBackpropStep) << family;
  }
  // Warm-up and drain of 1F1B: three stages' F and B beside eight of the last, which is longest.
  EXPECT_EQ(flops_of("1f1b").parallel,
            8.0 * 3.0 * (kLayer + kHead) + 3.0 * kLayer + 2.0 * 2.0 * kLayer + kLayer);
}

// Three heads more, and no gradient of the input of any stage; a step takes as long as the work of
// the longest stage.
TEST(FlopCostsTest, OfGreedyTrainingHaveAHeadForEachStage) {
  const StepFlops greedy = flops_of("local-greedy");
  EXPECT_EQ(greedy.total, kBackpropStep + 8.0 * 3.0 * (3.0 * kHead - kLayer));
  EXPECT_EQ(greedy.parallel, 8.0 * (2.0 * kLayer + 3.0 * kHead));
}

// Of three windows, two gradients pass each stage between the first and the last; one gradient of
// each window ends at the weights of its lowest stage.
TEST(FlopCostsTest, OfOverlappingWindowsCountEachGradientThatPasses) {
  EXPECT_EQ(flops_of("local-overlapping", {.window = 2}).total,
            8.0 * (4.0 * kLayer + 3.0 * 3.0 * kHead +  // F, and the heads
                   2.0 * (1.0 + 2.0 + 2.0 + 1.0) * kLayer - 3.0 * kLayer));
}

TEST(FlopCostsTest, WithoutAGradientOfItsInputTheFirstLayerOfAListSparesAProduct) {
  const auto of = [](int num_layers, const RecomputePolicy* policy) {
    std::vector<std::unique_ptr<Layer>> layers;
    for (int i = 0; i < num_layers; ++i) {
      layers.push_back(std::make_unique<Linear>(
          "layer", LinearOptions{.num_inputs = kWidth, .num_outputs = kWidth}));
    }
    const auto list = policy == nullptr ? std::make_unique<Sequence>(std::move(layers))
                                        : std::make_unique<Recomputed>(std::move(layers), *policy);
    return list->describe({{kSamples, kWidth}}, sizeof(float)).flops;
  };
  const auto layer = static_cast<std::int64_t>(kLayer);
  const Flops plain = of(3, nullptr);
  EXPECT_EQ(plain.input, 3 * layer);
  EXPECT_EQ(plain.spared_input, layer);
  EXPECT_EQ(plain.spared_weight, 0);
  const RecomputePolicy gradients_too{.recomputes_forward = true, .recomputes_gradients = true};
  const Flops again = of(3, &gradients_too);
  EXPECT_EQ(again.spared_input, layer);
  EXPECT_EQ(again.spared_weight, layer);
}

TEST(FlopCostsTest, RecomputingTakesMore) {
  const LlamaConfig model{.num_layers = 2,
                          .width = 16,
                          .num_heads = 2,
                          .num_key_value_heads = 2,
                          .hidden = 24,
                          .sequence = 8,
                          .vocabulary = 32};
  const auto layers = [&](const Recompute& recompute) {
    return stage_flops(build_model(model, {2}, {.recompute = recompute}),
                       input_shape(ModelConfig(model), 1))
        .front()
        .layers;
  };
  const Flops kept = layers({});
  const Flops again = layers({.recomputed = Recompute::Forward::OfBlocks});
  EXPECT_EQ(again.forward, kept.forward);
  EXPECT_EQ(again.input, kept.input + kept.forward);
  EXPECT_EQ(again.weight, kept.weight);
  const Flops both =
      layers({.recomputed = Recompute::Forward::OfBlocks, .recomputes_gradients = true});
  EXPECT_EQ(both.weight, kept.weight + kept.forward + kept.input);
}

}  // namespace
}  // namespace halfback
