// Heads that read a copy of the output matrix, which is refreshed now and then: the bits of the
// slow sequential reference, wherever the ranks are and meet.
#include "halfback/base/error.h"
#include "halfback/engine/pipeline.h"
#include "halfback/layers/classifier_head.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "tests/support/errors.h"
#include "tests/support/local_reference.h"
#include "tests/support/local_runs.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 10;

std::vector<StageLayers> stages_of(const NamedModel& model, const Schedule& schedule) {
  return build(model, schedule, LocalHead::Shared);
}

at::Tensor output_matrix(Pipeline& pipeline, int stage) {
  return pipeline.stage(stage).layers().loss->output_matrix()->value;
}

Pipeline::StepOptions numbered(int step) {
  return {.number = step, .learning_rate = kLearningRate};
}

class SharedHeadsTest : public OneThreadTest {
 protected:
  // Trains both; the ranks meet after the steps for which `drains` says so, and after the last.
  static void expect_reference_bits(
      const NamedModel& model,
      const Schedule& schedule,
      PipelineOptions options,
      std::int64_t head_refresh,
      const std::function<bool(int)>& drains = [](int) { return true; }) {
    SCOPED_TRACE(model.name + " " + schedule.name + " of " + std::to_string(schedule.num_stages()) +
                 ", refreshed every " + std::to_string(head_refresh));
    options.head_refresh = head_refresh;
    Stage::Options in_groups = options.stage;
    in_groups.gradient_groups = schedule.placement.num_replicas();
    LocalReference reference(stages_of(model, schedule), schedule.losses, in_groups, options.update,
                             head_refresh);
    reference.initialize(kSeed);
    Pipeline pipeline([&] { return stages_of(model, schedule); }, make_runnable(schedule), options);
    pipeline.initialize(kSeed);
    std::vector<std::vector<double>> expected;
    std::vector<std::vector<double>> found;
    for (int step = 1; step <= kNumSteps; ++step) {
      const auto micro_batches = batches(model, schedule.num_micro_batches, step);
      expected.push_back(reference.train_step(micro_batches, step, kLearningRate));
      pipeline.begin_step(micro_batches, numbered(step));
      const bool is_drained = drains(step) || step == kNumSteps;
      while (pipeline.num_begun() > (is_drained ? 0 : pipeline.most_begun() - 1)) {
        found.push_back(pipeline.finish_step().losses);
      }
      if (is_drained) {
        ASSERT_EQ(found, expected);
        expect_same_values(pipeline, reference, step);
      }
    }
  }

  static void expect_same_values(Pipeline& pipeline, LocalReference& reference, int step) {
    for (const LocalStage& local : pipeline.local_stages()) {
      ParameterStore& own = local.stage->store();
      ParameterStore& other = reference.store(local.number);
      ASSERT_TRUE(same_values(own.values(), other.values()) &&
                  same_values(own.statistics(), other.statistics()))
          << "step " << step << ", stage " << local.number << " of replica " << local.replica;
    }
  }
};

TEST_F(SharedHeadsTest, HaveTheBitsOfTheReference) {
  for (const char* name : {"Llama", "Mamba"}) {
    for (const int num_ranks : {1, 2, 3, 4}) {
      for (const bool two_stage : {false, true}) {
        for (const Schedule& schedule :
             {family("local-greedy", num_ranks, {.two_stage = two_stage}),
              family("local-overlapping", num_ranks,
                     {.two_stage = two_stage, .window = std::min(2, num_ranks)})}) {
          for (const OptimizerKind kind : {OptimizerKind::AdamW, OptimizerKind::Sgd}) {
            for (const int head_refresh : {1, 3}) {
              expect_reference_bits(model(name), schedule, local_options(kind), head_refresh);
            }
          }
        }
      }
    }
  }
}

TEST_F(SharedHeadsTest, WhereTheRanksMeetChangesNoBit) {
  for (const Schedule& schedule :
       {family("local-greedy", 4), family("local-overlapping", 4, {.window = 2}),
        family("local-interlocking", 3, {.distance = 1}), family("local-last", 3, {.trained = 1}),
        on_one_rank(family("local-greedy", 4))}) {
    for (const int head_refresh : {1, 3, 4, 100}) {
      for (const int period : {100, 4}) {
        expect_reference_bits(model("Llama"), schedule, local_options(), head_refresh,
                              [=](int step) { return step % period == 0; });
      }
    }
  }
}

TEST_F(SharedHeadsTest, EveryReplicaOfTheWeightsHasTheBitsOfTheReference) {
  for (const bool shards_optimizer : {false, true}) {
    PipelineOptions options = local_options();
    options.shards_optimizer = shards_optimizer;
    for (const Schedule& one :
         {family("local-greedy", 2), family("local-overlapping", 3, {.window = 2})}) {
      for (const int period : {100, 1}) {
        expect_reference_bits(model("Llama"), data_parallel(one, 2), options, 3,
                              [=](int step) { return step % period == 0; });
      }
    }
  }
  // Each rank has a stage of either replica: the last of one, and a head of the other.
  const Losses losses(2, {{0, 0}, {1, 1}});
  expect_reference_bits(model("Llama"),
                        with_losses(family("chimera", 2, {.stage_updates = true}), losses),
                        local_options(), 3);
}

// In the steps up to the next refresh: the values after the step before the last one.
TEST_F(SharedHeadsTest, CopiesAreThoseOfTheLastRefresh) {
  constexpr int kRefresh = 3;
  const NamedModel trained = model("Mamba");
  const Schedule schedule = family("local-greedy", 3);
  PipelineOptions options = local_options();
  options.head_refresh = kRefresh;
  Pipeline pipeline(stages_of(trained, schedule), make_runnable(schedule), options);
  pipeline.initialize(kSeed);
  at::Tensor at_refresh;
  for (int step = 1; step <= kNumSteps; ++step) {
    if ((step - 1) % kRefresh == 0) {
      at_refresh = output_matrix(pipeline, 2).clone();
    }
    pipeline.train_step(batches(trained, 4, step), numbered(step));
    for (const int stage : {0, 1}) {
      EXPECT_TRUE(output_matrix(pipeline, stage).equal(at_refresh)) << step << " " << stage;
      EXPECT_FALSE(output_matrix(pipeline, stage).equal(output_matrix(pipeline, 2))) << step;
    }
  }
}

// A run that goes on from a step between two refreshes has copies that the matrix has left behind.
TEST_F(SharedHeadsTest, AStepBetweenTwoRefreshesLeavesCopiesAlone) {
  const NamedModel trained = model("Llama");
  const Schedule schedule = family("local-greedy", 2);
  Pipeline pipeline(stages_of(trained, schedule), make_runnable(schedule), local_options());
  pipeline.initialize(kSeed);
  const c10::InferenceMode no_graph;
  output_matrix(pipeline, 0).fill_(0.5);
  const at::Tensor before = output_matrix(pipeline, 0).clone();
  for (const int step : {2, 3, 10}) {
    pipeline.train_step(batches(trained, 4, step), numbered(step));
    EXPECT_TRUE(output_matrix(pipeline, 0).equal(before)) << step;
  }
  pipeline.train_step(batches(trained, 4, 11), numbered(11));
  EXPECT_FALSE(output_matrix(pipeline, 0).equal(before));
}

// The head at the end reads the embedding, which is on another stage.
TEST_F(SharedHeadsTest, CopyTheEmbeddingOfATiedHead) {
  for (const char* name : {"LlamaTied", "MambaTied", "Bert"}) {
    SCOPED_TRACE(name);
    const NamedModel trained = model(name);
    const Schedule on_four =
        with_losses(family("1f1b", 4), Losses(4, {{0, 0}, {1, 1}, {2, 2}, {3, 3}}));
    std::map<int, std::vector<double>> losses;
    for (const Schedule& schedule : {on_four, on_one_rank(on_four)}) {
      PipelineOptions options = local_options();
      options.update = {.clip_norm = 0.5};
      options.head_refresh = 2;
      Pipeline pipeline(stages_of(trained, schedule), make_runnable(schedule), options);
      pipeline.initialize(kSeed);
      for (int step = 1; step <= kNumSteps; ++step) {
        const at::Tensor embedding = pipeline.stage(0).store().parameters().front()->value.clone();
        ASSERT_EQ(embedding.sizes(), output_matrix(pipeline, 0).sizes());
        const StepResult result = pipeline.train_step(batches(trained, 4, step), numbered(step));
        EXPECT_EQ(output_matrix(pipeline, 1).equal(embedding), step % 2 == 1) << step;
        const auto [known, is_new] = losses.try_emplace(step, result.losses);
        EXPECT_EQ(result.losses, known->second) << step;
      }
    }
  }
}

TEST_F(SharedHeadsTest, CopiesHaveNoGradientAndNoStateOfAnOptimizer) {
  const NamedModel trained = model("Llama");
  const Schedule schedule = family("local-greedy", 2);
  Pipeline shared(stages_of(trained, schedule), make_runnable(schedule), local_options());
  Pipeline linear(build(trained, schedule, LocalHead::Linear), make_runnable(schedule),
                  local_options());
  const Parameter& copy = *shared.stage(0).layers().loss->output_matrix();
  EXPECT_FALSE(copy.gradient.defined());
  const std::int64_t matrix = copy.numel() * 4;
  const StateBytes found = shared.stage(0).state_bytes();
  const StateBytes other = linear.stage(0).state_bytes();
  EXPECT_LT(found.gradients, other.gradients - matrix / 2);
  EXPECT_LT(found.optimizer, other.optimizer - matrix);
  EXPECT_GE(found.parameters, other.parameters);
}

TEST_F(SharedHeadsTest, ProductsReadARoundedCopy) {
  const NamedModel trained = model("Llama");
  const Schedule on_two = family("local-greedy", 2);
  std::vector<std::vector<double>> losses;
  for (const Schedule& schedule : {on_two, on_one_rank(on_two)}) {
    PipelineOptions options = local_options();
    options.stage.product_dtype = at::kBFloat16;
    options.head_refresh = 2;
    Pipeline pipeline(stages_of(trained, schedule), make_runnable(schedule), options);
    pipeline.initialize(kSeed);
    for (int step = 1; step <= 4; ++step) {
      losses.push_back(pipeline.train_step(batches(trained, 4, step), numbered(step)).losses);
      const Parameter& copy = *pipeline.stage(0).layers().loss->output_matrix();
      EXPECT_TRUE(copy.rounded.equal(copy.value.to(at::kBFloat16)));
    }
  }
  for (std::size_t step = 0; step < 4; ++step) {
    EXPECT_EQ(losses[step], losses[step + 4]) << step;
  }
}

TEST_F(SharedHeadsTest, RefuseAModelWithoutSuchAMatrix) {
  const Schedule schedule = family("local-greedy", 2);
  const auto refusal = [&](std::unique_ptr<LossLayer> last) {
    std::vector<StageLayers> stages = stages_of(model("Llama"), schedule);
    stages.back().loss = std::move(last);
    return text_of_thrown<ConfigError>([&] { lay_out(stages); });
  };
  EXPECT_TRUE(contains(refusal(nullptr), "and the last stage has none; use another local head"));
  EXPECT_TRUE(contains(refusal(std::make_unique<ClassifierHead>(
                           "head", ClassifierHead::Options{.num_channels = 2, .num_classes = 3})),
                       "the last stage has none; use another local head"));
  EXPECT_TRUE(contains(refusal(std::make_unique<LanguageModelHead>(
                           LanguageModelHead::Options{.num_channels = 2, .vocabulary = 3})),
                       "and the last stage has one of [3, 2]; use another local head"));
  EXPECT_TRUE(
      contains(text_of_thrown<ConfigError>([] { check(PipelineOptions{.head_refresh = 0}); }),
               "--head-refresh is 0; expected 1 or more"));
}

}  // namespace
}  // namespace halfback::testing
