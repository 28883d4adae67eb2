// Overlapping windows that share the weights of a stage, against windows that each train a copy of
// it, with an optimizer of their own, and average the copies after each step.
#include "halfback/engine/pipeline.h"
#include "halfback/schedule/passes.h"
#include "tests/support/local_reference.h"
#include "tests/support/local_runs.h"

#include <ATen/ops/allclose.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace halfback::testing {
namespace {

constexpr int kNumStages = 4;
constexpr int kNumMicroBatches = 4;

// A window of two stages with a loss on top. The lower one has no head: its own loss is that of the
// window below.
class Window {
 public:
  Window(std::vector<StageLayers> stages, const PipelineOptions& options) {
    stages.front().loss.reset();
    for (const auto& layer : stages.front().layers) {
      lower_.push_back(layer.get());
    }
    reference_.emplace(std::move(stages), Losses(), options.stage, options.update);
  }

  // Passes micro-batches through the lower stage.
  std::vector<MicroBatch> passed_by_lower(std::vector<MicroBatch> micro_batches) const {
    const c10::InferenceMode no_graph;
    for (MicroBatch& one : micro_batches) {
      one.inputs = {one.inputs.front().clone()};
      for (Layer* const layer : lower_) {
        Saved dropped;
        one.inputs = layer->forward(std::move(one.inputs), dropped, {});
      }
    }
    return micro_batches;
  }

  LocalReference& reference() { return *reference_; }

 private:
  std::vector<Layer*> lower_;
  std::optional<LocalReference> reference_;
};

// Those of a stage with and without a head: the layers' come first.
std::vector<std::pair<Parameter*, Parameter*>> same_parameters(ParameterStore& one,
                                                               ParameterStore& other) {
  std::vector<std::pair<Parameter*, Parameter*>> all;
  for (std::size_t i = 0; i < std::min(one.parameters().size(), other.parameters().size()); ++i) {
    all.emplace_back(one.parameters()[i], other.parameters()[i]);
  }
  return all;
}

std::vector<MicroBatch> exact_batches(const NamedModel& model, std::int64_t step) {
  std::vector<MicroBatch> all = batches(model, kNumMicroBatches, step);
  for (MicroBatch& one : all) {
    one.inputs.front() = one.inputs.front().to(at::kDouble);
  }
  return all;
}

// The updates of SGD, with momentum and decay, are linear in the gradients: the mean of the copies
// takes the mean of the gradients. The heads, which no two windows share, are as they are.
TEST(DuplicatedWindowsTest, TheirAverageIsTheMeanRuleUnderSgd) {
  const NamedModel trained = model("Mlp");
  Schedule schedule = family("local-overlapping", kNumStages, {.window = 2});
  schedule.losses = Losses(kNumStages, schedule.losses.reaches(), WeightRule::Mean);
  PipelineOptions options = local_options(OptimizerKind::Sgd);
  options.stage.dtype = at::kDouble;
  options.update = {};
  const auto stages = [&] { return build(trained, schedule, LocalHead::Linear, at::kDouble); };
  Pipeline pipeline(stages(), make_runnable(schedule), options);
  pipeline.initialize(kSeed);

  std::vector<Window> windows;
  for (int lower = 0; lower + 1 < kNumStages; ++lower) {
    std::vector<StageLayers> all = stages();
    std::vector<StageLayers> own;
    own.push_back(std::move(all[static_cast<std::size_t>(lower)]));
    own.push_back(std::move(all[static_cast<std::size_t>(lower) + 1]));
    Window& window = windows.emplace_back(std::move(own), options);
    for (const int i : {0, 1}) {
      for (const auto& [copy, original] :
           same_parameters(window.reference().store(i), pipeline.stage(lower + i).store())) {
        copy->value.copy_(original->value);
      }
    }
  }
  for (int step = 1; step <= 10; ++step) {
    const std::vector<MicroBatch> data = exact_batches(trained, step);
    const StepResult found =
        pipeline.train_step(data, {.number = step, .learning_rate = kLearningRate});
    std::vector<MicroBatch> inputs = data;
    for (std::size_t i = 0; i < windows.size(); ++i) {
      const std::vector<MicroBatch> above = windows[i].passed_by_lower(inputs);
      const double loss = windows[i].reference().train_step(inputs, step, kLearningRate).front();
      EXPECT_NEAR(found.losses[i], loss, 1e-12 * loss) << "step " << step << ", window " << i;
      inputs = above;
    }
    for (std::size_t i = 0; i + 1 < windows.size(); ++i) {
      bool are_equal = true;
      for (const auto& [above, below] :
           same_parameters(windows[i + 1].reference().store(0), windows[i].reference().store(1))) {
        are_equal = are_equal && above->value.equal(below->value);
        above->value.add_(below->value).div_(2.0);
        below->value.copy_(above->value);
      }
      EXPECT_FALSE(are_equal) << "the copies have seen different losses";
    }
  }
  for (int stage = 0; stage < kNumStages; ++stage) {
    const bool is_first = stage == 0;
    Window& window = windows[static_cast<std::size_t>(is_first ? 0 : stage - 1)];
    for (const auto& [expected, found] : same_parameters(window.reference().store(is_first ? 0 : 1),
                                                         pipeline.stage(stage).store())) {
      EXPECT_TRUE(at::allclose(found->value, expected->value, 1e-12, 1e-12)) << found->name;
    }
  }
}

}  // namespace
}  // namespace halfback::testing
