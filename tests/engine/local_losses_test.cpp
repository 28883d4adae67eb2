// Training by losses on any stage: the bits of the slow sequential reference, whatever the
// schedule.
#include "halfback/base/error.h"
#include "halfback/engine/pipeline.h"
#include "halfback/measure/synthetic.h"
#include "halfback/models/cut.h"
#include "halfback/models/local_heads.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/queues.h"
#include "halfback/simulate/memory_model.h"
#include "tests/support/errors.h"
#include "tests/support/local_reference.h"
#include "tests/support/local_runs.h"
#include "tests/support/losses_through.h"

#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 3;

struct LocalLossKind {
  LocalHead head = LocalHead::Linear;
  LocalLoss loss = LocalLoss::Pred;
};

// Views come in pairs.
std::int64_t num_samples(LocalLoss loss) {
  return loss == LocalLoss::InfoNce ? kNumSamples + 1 : kNumSamples;
}

class LocalLossesTest : public OneThreadTest {
 protected:
  // Trains both for some steps and compares losses, gradients and values of every stage.
  static void expect_reference_bits(const NamedModel& model,
                                    const Schedule& schedule,
                                    const PipelineOptions& options,
                                    const LocalLossKind& local = {}) {
    SCOPED_TRACE(model.name + " " + schedule.name + " of " + std::to_string(schedule.num_stages()) +
                 ", " + brief_losses(schedule.losses) + " " +
                 to_string(schedule.losses.weight_rule()) + ", " + to_string(local.head) + " " +
                 to_string(local.loss));
    LocalReference reference(build(model, schedule, local.head, at::kFloat, local.loss),
                             schedule.losses, options.stage, options.update);
    reference.initialize(kSeed);
    Pipeline pipeline(build(model, schedule, local.head, at::kFloat, local.loss),
                      make_runnable(schedule), options);
    pipeline.initialize(kSeed);
    for (int step = 1; step <= kNumSteps; ++step) {
      const auto micro_batches =
          batches(model, schedule.num_micro_batches, step, num_samples(local.loss));
      const std::vector<double> expected = reference.train_step(micro_batches, step, kLearningRate);
      const StepResult found =
          pipeline.train_step(micro_batches, {.number = step, .learning_rate = kLearningRate});
      ASSERT_EQ(found.losses, expected) << "step " << step;
      ASSERT_EQ(found.loss, expected.back());
      for (int stage = 0; stage < schedule.num_stages(); ++stage) {
        ParameterStore& own = pipeline.stage(stage).store();
        ASSERT_TRUE(!schedule.losses.has_backward(stage) ||
                    same_values(own.gradients(), reference.store(stage).gradients()))
            << "gradients, step " << step << ", stage " << stage;
        ASSERT_TRUE(same_values(own.values(), reference.store(stage).values()))
            << "values, step " << step << ", stage " << stage;
        ASSERT_TRUE(!own.statistics().defined() ||
                    same_values(own.statistics(), reference.store(stage).statistics()))
            << "statistics, step " << step << ", stage " << stage;
        ASSERT_TRUE(pipeline.stage(stage).is_idle()) << "stage " << stage;
      }
    }
  }
};

std::vector<Schedule> every_family(int num_ranks, bool two_stage) {
  std::vector<Schedule> all = {family("local-greedy", num_ranks, {.two_stage = two_stage})};
  for (int size = 1; size <= num_ranks; ++size) {
    all.push_back(family("local-chunked", num_ranks, {.two_stage = two_stage, .chunks = size}));
    all.push_back(family("local-overlapping", num_ranks, {.two_stage = two_stage, .window = size}));
    all.push_back(family("local-last", num_ranks, {.two_stage = two_stage, .trained = size}));
    if (size < num_ranks) {
      all.push_back(
          family("local-interlocking", num_ranks, {.two_stage = two_stage, .distance = size}));
    }
  }
  return all;
}

TEST_F(LocalLossesTest, EveryFamilyHasTheBitsOfTheReference) {
  for (const int num_ranks : {1, 2, 3, 4}) {
    for (const bool two_stage : {false, true}) {
      for (const Schedule& schedule : every_family(num_ranks, two_stage)) {
        expect_reference_bits(model("Mlp"), schedule, local_options());
      }
    }
  }
}

TEST_F(LocalLossesTest, EveryModelHasTheBitsOfTheReference) {
  for (const char* name : {"Llama", "Resnet", "ResnetAllRecomputed", "Mamba",
                           "LlamaGradientsRecomputed", "MlpGradientsRecomputed"}) {
    for (const OptimizerKind kind : {OptimizerKind::AdamW, OptimizerKind::Sgd}) {
      for (const Schedule& schedule :
           {family("local-greedy", 2), family("local-chunked", 4, {.chunks = 2}),
            family("local-overlapping", 4, {.window = 2}),
            family("local-overlapping", 4, {.window = 3}),
            family("local-interlocking", 4, {.distance = 1}),
            family("local-interlocking", 4, {.distance = 2})}) {
        expect_reference_bits(model(name), schedule, local_options(kind));
      }
    }
  }
}

// The losses of a file, or of --losses, in the order of a family of backprop.
TEST_F(LocalLossesTest, LossesInAnyOrderHaveTheBitsOfTheReference) {
  for (const char* name : {"gpipe", "1f1b", "1f1b-2", "zb-h1", "zb-h2"}) {
    for (const std::vector<LossReach>& reaches : std::vector<std::vector<LossReach>>{
             {{0, 0}, {3, 1}}, {{1, 0}, {2, 1}, {3, 2}}, {{3, 3}}}) {
      expect_reference_bits(
          model("Llama"),
          add_updates(with_losses(build_schedule(name, {.num_ranks = 4, .num_micro_batches = 8}),
                                  Losses(4, reaches))),
          local_options());
    }
  }
}

TEST_F(LocalLossesTest, QueuesHaveTheBitsOfTheReference) {
  for (const char* name : {"Mlp", "Llama", "Resnet"}) {
    for (const std::vector<int>& lengths : {std::vector{1}, {3}, {2, 0}}) {
      expect_reference_bits(model(name), with_queues(family("local-greedy", 3), lengths),
                            local_options());
    }
    expect_reference_bits(model(name), with_queues(family("local-chunked", 4, {.chunks = 2}), {2}),
                          local_options());
  }
}

// Stages that share a parameter are updated together.
TEST_F(LocalLossesTest, TiedModelsHaveTheBitsOfTheReference) {
  PipelineOptions options = local_options();
  options.update = {};
  for (const char* name : {"LlamaTied", "MambaTied", "Bert", "BertMasked", "BertAllRecomputed"}) {
    for (const bool two_stage : {false, true}) {
      const PipelineShape plain{.two_stage = two_stage, .stage_updates = false};
      PipelineShape chunked = plain;
      chunked.chunks = 2;
      PipelineShape overlapping = plain;
      overlapping.window = 3;
      PipelineShape interlocking = plain;
      interlocking.distance = 1;
      for (const Schedule& schedule :
           {family("local-greedy", 3, plain), family("local-chunked", 4, chunked),
            family("local-overlapping", 4, overlapping),
            family("local-interlocking", 4, interlocking)}) {
        expect_reference_bits(model(name), schedule, options);
      }
    }
  }
}

TEST_F(LocalLossesTest, TiedStagesTrainBothOrNeither) {
  PipelineOptions options = local_options();
  options.update = {};
  for (const char* losses : {"2:2", "0:none,2:1"}) {
    const Schedule schedule =
        with_losses(family("gpipe", 3), Losses(3, parse_losses(losses).value()));
    EXPECT_EQ(text_of_thrown<ConfigError>([&] {
                Pipeline(build(model("LlamaTied"), schedule, LocalHead::Linear),
                         make_runnable(schedule), options);
              }),
              "model: stages 0 and 2 share a parameter, and no loss trains the layers of stage 0; "
              "use losses that reach both, or a model without tied parameters");
  }
}

// Every kind of local loss that compares similarities.
constexpr LocalLossKind kWithSimilarities[] = {{.loss = LocalLoss::Sim},
                                               {.loss = LocalLoss::PredSim},
                                               {LocalHead::Mlp1, LocalLoss::PredSim},
                                               {LocalHead::Cnn, LocalLoss::PredSim}};

bool admits(const std::string& model, LocalHead head) {
  return head != LocalHead::Cnn || model == "Resnet";
}

TEST_F(LocalLossesTest, SimilaritiesHaveTheBitsOfTheReference) {
  for (const char* name : {"Mlp", "Resnet"}) {
    for (const LocalLossKind& local : kWithSimilarities) {
      for (const bool two_stage : {false, true}) {
        if (admits(name, local.head)) {
          expect_reference_bits(model(name), family("local-greedy", 3, {.two_stage = two_stage}),
                                local_options(), local);
          expect_reference_bits(
              model(name), family("local-overlapping", 4, {.two_stage = two_stage, .window = 2}),
              local_options(), local);
        }
      }
    }
  }
}

// Without labels, for any order of the losses and for backprop by one of them.
TEST_F(LocalLossesTest, ViewsHaveTheBitsOfTheReference) {
  for (const char* name : {"Mlp", "Resnet"}) {
    for (const int num_ranks : {1, 2, 3, 4}) {
      for (const bool two_stage : {false, true}) {
        for (const Schedule& schedule :
             {family("1f1b", num_ranks, {.two_stage = two_stage}),
              family("local-greedy", num_ranks, {.two_stage = two_stage}),
              family("local-overlapping", num_ranks,
                     {.two_stage = two_stage, .window = std::min(num_ranks, 2)})}) {
          expect_reference_bits(model(name), schedule, local_options(),
                                {.loss = LocalLoss::InfoNce});
        }
      }
    }
  }
}

// One chunk, a window over all stages and interlocking at the full distance are backprop: the model
// has the bits of 1f1b, whatever the heads do.
TEST_F(LocalLossesTest, TheLargestOfEachFamilyIsBackprop) {
  for (const char* name : {"Mlp", "Llama"}) {
    const NamedModel trained = model(name);
    const Schedule backprop = family("1f1b", 4);
    // A limit per stage would include the heads.
    PipelineOptions unlimited = local_options();
    unlimited.update.clip_norm = 0.0;
    Pipeline expected(build(trained, backprop, LocalHead::Linear), make_runnable(backprop),
                      unlimited);
    expected.initialize(kSeed);
    std::vector<std::unique_ptr<Pipeline>> found;
    for (const Schedule& schedule :
         {family("local-chunked", 4, {.chunks = 1}), family("local-overlapping", 4, {.window = 4}),
          family("local-interlocking", 4, {.distance = 3})}) {
      found.push_back(std::make_unique<Pipeline>(build(trained, schedule, LocalHead::Linear),
                                                 make_runnable(schedule), unlimited));
      found.back()->initialize(kSeed);
    }
    for (int step = 1; step <= 10; ++step) {
      const auto micro_batches = batches(trained, 4, step);
      const Pipeline::StepOptions one{.number = step, .learning_rate = kLearningRate};
      const double loss = expected.train_step(micro_batches, one).loss;
      for (const auto& pipeline : found) {
        ASSERT_EQ(pipeline->train_step(micro_batches, one).loss, loss) << name << " " << step;
      }
    }
    for (const auto& pipeline : found) {
      for (int stage = 0; stage < 4; ++stage) {
        const auto own = pipeline->stage(stage).layers().layers.front()->parameters();
        const auto other = expected.stage(stage).layers().layers.front()->parameters();
        for (std::size_t i = 0; i < own.size(); ++i) {
          EXPECT_TRUE(own[i]->value.equal(other[i]->value)) << own[i]->name;
        }
      }
    }
  }
}

// A stage's gradients do not depend on any loss but its own: those of stage 0 stay when the head of
// stage 1 and all stages above change.
TEST_F(LocalLossesTest, GreedyGradientsAreThoseOfTheOwnLossAlone) {
  const NamedModel trained = model("Mlp");
  const Schedule schedule = family("local-greedy", 3);
  const auto gradients_of_stage_0 = [&](double scale_of_others) {
    Pipeline pipeline(build(trained, schedule, LocalHead::Linear), make_runnable(schedule),
                      local_options());
    pipeline.initialize(kSeed);
    const c10::InferenceMode no_graph;
    for (const int stage : {1, 2}) {
      const at::Tensor& values = pipeline.stage(stage).store().values();
      values.mul_(scale_of_others);
    }
    pipeline.accumulate_gradients(batches(trained, 4, 1));
    return pipeline.stage(0).store().gradients().clone();
  };
  EXPECT_TRUE(gradients_of_stage_0(1.0).equal(gradients_of_stage_0(-3.0)));
}

// The gradient of a stage, along any direction, is how the losses that train it change, whatever
// the change does to the losses above.
TEST_F(LocalLossesTest, FiniteDifferencesConfirmGradientsThroughEveryStop) {
  constexpr double kStep = 1e-5;
  const NamedModel trained = model("Llama");
  PipelineOptions exact = local_options();
  exact.stage.dtype = at::kDouble;
  for (const Schedule& schedule :
       {family("local-greedy", 4), family("local-chunked", 4, {.chunks = 2}),
        family("local-overlapping", 4, {.window = 2}),
        family("local-interlocking", 4, {.distance = 1})}) {
    Pipeline pipeline(build(trained, schedule, LocalHead::Linear, at::kDouble),
                      make_runnable(schedule), exact);
    pipeline.initialize(kSeed);
    const c10::InferenceMode no_graph;
    const auto micro_batches = batches(trained, 4, 1);
    const std::vector<int> with_loss = stages_with_loss(schedule.losses, 4);
    const auto losses_that_train = [&](int stage) {
      const StagePasses passes = schedule.losses.passes(stage);
      std::vector<int> through = testing::losses_through(schedule.losses, 4, stage);
      through.erase(through.begin(), through.end() - passes.taken);
      const std::vector<double> all = pipeline.accumulate_gradients(micro_batches).losses;
      double sum = 0.0;
      for (const int loss : through) {
        sum +=
            all[static_cast<std::size_t>(std::ranges::find(with_loss, loss) - with_loss.begin())];
      }
      return sum;
    };
    for (int stage = 0; stage < 4; ++stage) {
      losses_that_train(stage);
      ParameterStore& store = pipeline.stage(stage).store();
      const at::Tensor gradients = store.gradients().clone();
      const at::Tensor values = store.values().clone();
      const at::Tensor direction = gradients.sign();
      const auto& head = pipeline.stage(stage).layers().loss;
      for (const Parameter* of_head : head ? head->parameters() : std::vector<Parameter*>()) {
        direction
            .narrow(0, of_head->gradient.storage_offset() - store.gradients().storage_offset(),
                    of_head->gradient.numel())
            .zero_();  // it takes the own loss, whoever trains the stage
      }
      const auto moved = [&](double distance) {
        store.values().copy_(values).add_(direction, distance);
        return losses_that_train(stage);
      };
      const double found = (moved(kStep) - moved(-kStep)) / (2 * kStep);
      moved(0.0);
      const double expected = gradients.mul(direction).sum().item().toDouble();
      EXPECT_NEAR(found, expected, 1e-6 * expected) << schedule.name << " stage " << stage;
    }
  }
}

// It gets the gradient that backprop gives it.
TEST_F(LocalLossesTest, TheLastStageOfGreedyIsThatOfBackprop) {
  for (const char* name : {"Mlp", "Llama", "Resnet"}) {
    const auto gradients_of_the_last = [&](const Schedule& schedule) {
      Pipeline pipeline(build(model(name), schedule, LocalHead::Linear), make_runnable(schedule),
                        local_options());
      pipeline.initialize(kSeed);
      pipeline.accumulate_gradients(batches(model(name), 4, 1));
      return pipeline.stage(2).store().gradients().clone();
    };
    EXPECT_TRUE(gradients_of_the_last(family("local-greedy", 3))
                    .equal(gradients_of_the_last(family("1f1b", 3))))
        << name;
  }
}

TEST_F(LocalLossesTest, GradientsCrossNoCut) {
  const NamedModel trained = model("Mlp");
  for (const Schedule& schedule :
       {family("local-greedy", 4), family("local-chunked", 4, {.chunks = 4})}) {
    Pipeline pipeline(build(trained, schedule, LocalHead::Linear), make_runnable(schedule),
                      local_options());
    pipeline.initialize(kSeed);
    const StepResult result =
        pipeline.train_step(batches(trained, 4, 1), {.learning_rate = kLearningRate});
    for (const Link& link : result.timeline.links) {
      EXPECT_TRUE(link.from < link.to || link.bytes == 0) << link.from << " to " << link.to;
    }
  }
}

// Trains a step and compares what each rank has held with what was predicted.
void expect_predicted_bytes(const NamedModel& trained,
                            const Schedule& schedule,
                            const LocalLossKind& local = {}) {
  const auto stages = [&] { return build(trained, schedule, local.head, at::kFloat, local.loss); };
  const RunnableSchedule runnable = make_runnable(schedule);
  PipelineOptions options = local_options();
  options.update = {};  // tied stages have one norm
  Pipeline pipeline(stages(), runnable, options);
  pipeline.initialize(kSeed);
  const std::vector<std::int64_t> predicted =
      predict_memory(
          *runnable,
          {.stages = stage_bytes(
               stages(), {.input_shape = input_shape(trained.config, num_samples(local.loss))})})
          .peak;
  const StepResult found = pipeline.train_step(batches(trained, 4, 1, num_samples(local.loss)),
                                               {.learning_rate = kLearningRate});
  for (std::size_t rank = 0; rank < predicted.size(); ++rank) {
    EXPECT_EQ(found.memory[rank].activations, predicted[rank])
        << trained.name << " " << schedule.name << " " << brief_losses(schedule.losses) << ", "
        << to_string(local.head) << " " << to_string(local.loss) << ", rank " << rank;
  }
}

TEST_F(LocalLossesTest, HoldsThePredictedBytes) {
  for (const char* name : {"Mlp", "Llama", "Mamba", "Resnet"}) {
    for (const bool two_stage : {false, true}) {
      SCOPED_TRACE(two_stage ? "split backward" : "fused backward");
      for (const Schedule& schedule : every_family(4, two_stage)) {
        expect_predicted_bytes(model(name), schedule);
        if (task_of(model(name).config) == Task::NextToken) {
          expect_predicted_bytes(model(name), schedule, {.head = LocalHead::Shared});
        }
      }
    }
  }
}

// Heads predict masked words alone; the two ends of a tie are updated together.
TEST_F(LocalLossesTest, HeadsOfMaskedWordsHoldThePredictedBytes) {
  for (const bool two_stage : {false, true}) {
    for (const LocalHead head : {LocalHead::Linear, LocalHead::Shared}) {
      expect_predicted_bytes(
          model("Bert"),
          family("local-greedy", 4, {.two_stage = two_stage, .stage_updates = false}),
          {.head = head});
    }
  }
}

TEST_F(LocalLossesTest, QueuesHoldThePredictedBytes) {
  for (const char* name : {"Mlp", "Llama", "Resnet"}) {
    for (const int length : {1, 3}) {
      expect_predicted_bytes(model(name), with_queues(family("local-greedy", 4), {length}));
      expect_predicted_bytes(model(name),
                             with_queues(family("local-chunked", 4, {.chunks = 2}), {length}));
    }
  }
}

TEST_F(LocalLossesTest, SimilaritiesHoldThePredictedBytes) {
  for (const char* name : {"Mlp", "Resnet"}) {
    for (const LocalLossKind& local : kWithSimilarities) {
      for (const bool two_stage : {false, true}) {
        SCOPED_TRACE(two_stage ? "split backward" : "fused backward");
        if (admits(name, local.head)) {
          expect_predicted_bytes(model(name), family("local-greedy", 4, {.two_stage = two_stage}),
                                 local);
        }
      }
    }
  }
}

TEST_F(LocalLossesTest, ViewsHoldThePredictedBytes) {
  for (const char* name : {"Mlp", "Resnet"}) {
    for (const bool two_stage : {false, true}) {
      SCOPED_TRACE(two_stage ? "split backward" : "fused backward");
      for (const Schedule& schedule : every_family(4, two_stage)) {
        expect_predicted_bytes(model(name), schedule, {.loss = LocalLoss::InfoNce});
      }
    }
  }
}

TEST_F(LocalLossesTest, EvaluationKnowsEachLoss) {
  const NamedModel trained = model("Mlp");
  const Schedule schedule = family("local-greedy", 3);
  Pipeline pipeline(build(trained, schedule, LocalHead::Linear), make_runnable(schedule),
                    local_options());
  pipeline.initialize(kSeed);
  const auto micro_batches = batches(trained, 4, 1);
  const Evaluation before = pipeline.evaluate(micro_batches);
  const StepResult step = pipeline.train_step(micro_batches, {.learning_rate = kLearningRate});
  ASSERT_EQ(before.losses.size(), 3U);
  ASSERT_EQ(before.accuracies.size(), 3U);
  EXPECT_EQ(before.losses, step.losses) << "of the values before the update";
  EXPECT_EQ(before.loss, before.losses.back());
  EXPECT_EQ(before.accuracy, before.accuracies.back());
}

Tensors copied_values(Pipeline& pipeline, int stage) {
  Tensors values;
  for (const Parameter* one : pipeline.stage(stage).store().parameters()) {
    values.push_back(one->value.clone());
  }
  return values;
}

// They read running statistics and drop nothing, so that what is above trains on what it will see.
// Nothing changes them, weight decay neither, and nothing is held for that.
// Passes everything on, and keeps whether the gradient of its input was needed.
class NeedsInput final : public OneTensorLayer {
 public:
  explicit NeedsInput(std::vector<bool>& needed) : needed_(needed) {}
  at::Tensor forward(const at::Tensor& input, Saved&, const Call&) override {
    return input.clone();
  }
  at::Tensor backward_input(const at::Tensor& gradient, Saved&, const Call& call) override {
    needed_.push_back(call.needs_input);
    return gradient.clone();
  }
  SavedBytes saved_bytes(const Shape&, std::int64_t) const override { return {}; }

 private:
  std::vector<bool>& needed_;
};

TEST_F(LocalLossesTest, TheFirstLayerIsToldWhetherItsGradientGoesOn) {
  for (const int lowest : {0, 1}) {
    std::vector<bool> needed;
    StageLayers layers;
    for (int i = 0; i < 2; ++i) {
      layers.add(std::make_unique<NeedsInput>(needed));
    }
    const Losses losses(3, parse_losses(fmt::format("2:{}", lowest)).value());
    const StageGradients gradients = gradients_of(losses, 3, 1);
    const std::uint8_t loss = gradients.all.front().loss;
    Stage stage(std::move(layers), {}, gradients);
    for (const bool is_split : {true, false}) {
      needed.clear();
      stage.begin_step(1);
      stage.forward(0, {at::ones({2})});
      if (is_split) {
        stage.backward_input({.micro_batch = 0, .loss = loss}, {at::ones({2})}, 1.0);
        stage.backward_weight(std::array{0});
      } else {
        stage.backward(0, {at::ones({2})}, 1.0);
      }
      stage.finish_step(std::array{0});
      EXPECT_EQ(needed, (std::vector<bool>{true, lowest == 0})) << lowest;
    }
  }
}

TEST_F(LocalLossesTest, StagesThatNoLossTrainsRunAsInEvaluation) {
  for (const char* name : {"Resnet", "Llama", "Mlp"}) {
    for (const char* losses : {"2:none", "0:none,2:none"}) {
      const NamedModel trained = model(name);
      const Schedule schedule =
          with_losses(family("gpipe", 3), Losses(3, parse_losses(losses).value()));
      Pipeline pipeline(build(trained, schedule, LocalHead::Linear), make_runnable(schedule),
                        local_options());
      pipeline.initialize(kSeed);
      const Tensors values = copied_values(pipeline, 1);
      EXPECT_EQ(pipeline.stage(1).state_bytes().optimizer, 0) << name << " " << losses;
      EXPECT_EQ(pipeline.stage(1).state_bytes().gradients, 0) << name << " " << losses;
      for (int step = 1; step <= 3; ++step) {
        const auto micro_batches = batches(trained, 4, step);
        const Evaluation before = pipeline.evaluate(micro_batches);
        const StepResult result =
            pipeline.train_step(micro_batches, {.number = step, .learning_rate = kLearningRate});
        ASSERT_EQ(result.losses, before.losses) << name << " " << losses;
      }
      EXPECT_TRUE(std::ranges::equal(copied_values(pipeline, 1), values, same_values))
          << name << " " << losses;
    }
  }
}

TEST_F(LocalLossesTest, WeightsTakeSumMeanOrFurthest) {
  for (const char* rule : {"sum", "mean", "furthest"}) {
    for (const char* losses : {"1:0,2:1,3:2", "0:0,2:0,3:1", "0:none,1:0,2:0,3:0", "3:2"}) {
      const Losses table(4, parse_losses(losses).value(), parse_weight_rule(rule).value());
      for (const bool two_stage : {false, true}) {
        const Schedule backprop = family("gpipe", 4, {.two_stage = two_stage});
        expect_reference_bits(model("Mlp"), with_losses(backprop, table), local_options());
      }
    }
  }
}

}  // namespace
}  // namespace halfback::testing
