// Steps without a barrier: a rank begins its next step when its own part of the last is done.
#include "halfback/base/error.h"
#include "halfback/engine/pipeline.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/queues.h"
#include "tests/support/errors.h"
#include "tests/support/local_reference.h"
#include "tests/support/local_runs.h"

#include <gtest/gtest.h>

#include <functional>
#include <latch>
#include <stdexcept>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 10;

// Hands its input on and calls something in F.
class CallingLayer final : public OneTensorLayer {
 public:
  explicit CallingLayer(std::function<void()> call) : call_(std::move(call)) {}

  at::Tensor forward(const at::Tensor& input, Saved& /*saved*/, const Call& /*call*/) override {
    call_();
    return input.clone();
  }
  at::Tensor backward_input(const at::Tensor& grad_output,
                            Saved& /*saved*/,
                            const Call& /*call*/) override {
    return grad_output.clone();
  }
  SavedBytes saved_bytes(const Shape& /*input_shape*/,
                         std::int64_t /*element_bytes*/) const override {
    return {};
  }

 private:
  std::function<void()> call_;
};

class StepsWithoutBarrierTest : public OneThreadTest {
 protected:
  // Trains both for some steps; the ranks meet after those for which `drains` says so.
  static void expect_reference_bits(const NamedModel& model,
                                    const Schedule& schedule,
                                    const PipelineOptions& options,
                                    const std::function<bool(int)>& drains) {
    SCOPED_TRACE(model.name + " " + schedule.name);
    const auto build_stages = [&] { return build(model, schedule, LocalHead::Linear); };
    Stage::Options in_groups = options.stage;
    in_groups.gradient_groups = schedule.placement.num_replicas();
    LocalReference reference(build_stages(), schedule.losses, in_groups, options.update);
    reference.initialize(kSeed);
    Pipeline pipeline(build_stages, make_runnable(schedule), options);
    pipeline.initialize(kSeed);
    std::vector<std::vector<double>> expected;
    std::vector<std::vector<double>> found;
    for (int step = 1; step <= kNumSteps; ++step) {
      const auto micro_batches = batches(model, schedule.num_micro_batches, step);
      expected.push_back(reference.train_step(micro_batches, step, kLearningRate));
      pipeline.begin_step(micro_batches, {.number = step, .learning_rate = kLearningRate});
      const int most = drains(step) || step == kNumSteps ? 0 : pipeline.most_begun() - 1;
      while (pipeline.num_begun() > most) {
        found.push_back(pipeline.finish_step().losses);
      }
    }
    ASSERT_EQ(found, expected);
    for (const LocalStage& local : pipeline.local_stages()) {
      SCOPED_TRACE(local.number);
      ParameterStore& own = local.stage->store();
      ParameterStore& expected_store = reference.store(local.number);
      ASSERT_TRUE(same_values(own.values(), expected_store.values()));
      ASSERT_TRUE(!own.statistics().defined() ||
                  same_values(own.statistics(), expected_store.statistics()));
      ASSERT_TRUE(local.stage->is_idle());
    }
  }
};

// Where and how often the ranks meet changes no bit: never, and now and then.
TEST_F(StepsWithoutBarrierTest, StepsWithoutABarrierHaveTheBitsOfTheReference) {
  const auto never = [](int) { return false; };
  const auto sometimes = [](int step) { return step % 3 == 1 || step % 5 == 0; };
  for (const char* name : {"Mlp", "Llama", "Resnet"}) {
    for (const Schedule& schedule :
         {family("local-greedy", 4), with_queues(family("local-greedy", 3), {1, 3}),
          family("local-chunked", 3, {.chunks = 3}), family("local-overlapping", 4, {.window = 2}),
          family("local-interlocking", 2, {.distance = 1}),
          family("local-interlocking", 4, {.distance = 2}),
          family("1f1b", 3, {.stage_updates = true}), family("gpipe", 2)}) {
      const OptimizerKind kind =
          name == std::string("Mlp") ? OptimizerKind::Sgd : OptimizerKind::AdamW;
      expect_reference_bits(model(name), schedule, local_options(kind), never);
      expect_reference_bits(model(name), schedule, local_options(kind), sometimes);
    }
  }
}

// As many as the last rank is behind the first, one that the first works on, one whose results are
// collected.
TEST_F(StepsWithoutBarrierTest, AsManyStepsBeginAsKeepAllRanksBusy) {
  const auto most_begun = [](const Schedule& schedule) {
    return Pipeline(build(model("Mlp"), schedule, LocalHead::Linear), make_runnable(schedule),
                    local_options())
        .most_begun();
  };
  EXPECT_EQ(most_begun(family("1f1b", 4)), 1) << "without U";
  EXPECT_EQ(most_begun(family("local-greedy", 1)), 2);
  EXPECT_EQ(most_begun(family("local-greedy", 4)), 3) << "3 of 4 micro-batches behind";
  EXPECT_EQ(most_begun(family("local-greedy", 8)), 4) << "7 of 4";
  EXPECT_EQ(most_begun(with_queues(family("local-greedy", 4), {1, 0, 0})), 3) << "4 of 4";
  EXPECT_EQ(most_begun(with_queues(family("local-greedy", 4), {3})), 5) << "12 of 4";
}

TEST_F(StepsWithoutBarrierTest, TwoReplicasHaveTheBitsOfTwoGradientGroups) {
  for (const char* name : {"Mlp", "Llama"}) {
    for (const Schedule& one :
         {family("local-greedy", 2), family("local-chunked", 3, {.chunks = 2}),
          family("local-overlapping", 3, {.window = 2}),
          family("local-interlocking", 3, {.distance = 1}), family("local-last", 3)}) {
      for (const bool shards_optimizer : {false, true}) {
        PipelineOptions options = local_options();
        options.shards_optimizer = shards_optimizer;
        for (const int period : {100, 1, 3}) {
          expect_reference_bits(model(name), data_parallel(one, 2), options,
                                [=](int step) { return step % period == 0; });
        }
      }
    }
    expect_reference_bits(model(name), family("chimera", 2, {.stage_updates = true}),
                          local_options(), [](int) { return false; });
  }
}

// Stage 1 cannot end its first step before stage 0 is in its second one.
TEST_F(StepsWithoutBarrierTest, ARankBeginsItsNextStepWhileOthersAreInTheirLast) {
  const Schedule schedule =
      build_schedule("local-greedy", {.num_ranks = 2, .num_micro_batches = 1});
  std::latch second(2);
  std::vector<StageLayers> stages = build(model("Mlp"), schedule, LocalHead::Linear);
  stages[0].layers.push_back(std::make_unique<CallingLayer>([&] { second.count_down(); }));
  stages[1].layers.push_back(std::make_unique<CallingLayer>([&] { second.wait(); }));
  Pipeline pipeline(std::move(stages), make_runnable(schedule), local_options());
  pipeline.initialize(kSeed);
  ASSERT_EQ(pipeline.most_begun(), 3);
  pipeline.begin_step(batches(model("Mlp"), 1, 1), {.number = 1, .learning_rate = kLearningRate});
  pipeline.begin_step(batches(model("Mlp"), 1, 2), {.number = 2, .learning_rate = kLearningRate});
  const StepResult first = pipeline.finish_step();
  EXPECT_EQ(pipeline.num_begun(), 1);
  const RunnableSchedule runs = make_runnable(schedule);
  EXPECT_EQ(first.timeline.spans.size(), runs->ranks[0].size() + runs->ranks[1].size());
  pipeline.finish_step();
}

TEST_F(StepsWithoutBarrierTest, WithoutUpdatesInListsAStepIsABarrier) {
  const Schedule schedule = family("gpipe", 2);
  Pipeline pipeline(build(model("Mlp"), schedule, LocalHead::Linear), make_runnable(schedule),
                    local_options());
  EXPECT_EQ(pipeline.most_begun(), 1);
}

// The step of the failure comes out as an error that names it; those before it have their results.
TEST_F(StepsWithoutBarrierTest, AFailureNamesItsStep) {
  const Schedule schedule =
      build_schedule("local-greedy", {.num_ranks = 2, .num_micro_batches = 1});
  std::vector<StageLayers> stages = build(model("Mlp"), schedule, LocalHead::Linear);
  stages[0].layers.push_back(std::make_unique<CallingLayer>([&, count = 0]() mutable {
    if (++count == 2) {
      throw std::runtime_error("the second is too much");
    }
  }));
  Pipeline pipeline(std::move(stages), make_runnable(schedule), local_options());
  pipeline.initialize(kSeed);
  for (const int step : {1, 2, 3}) {
    pipeline.begin_step(batches(model("Mlp"), 1, step),
                        {.number = step, .learning_rate = kLearningRate});
  }
  const std::string text = text_of_thrown<Error>([&] {
    for (int i = 0; i < 3; ++i) {
      pipeline.finish_step();
    }
  });
  EXPECT_EQ(text, "rank 0, position 0, 0F0 of step 2: the second is too much");
}

}  // namespace
}  // namespace halfback::testing
