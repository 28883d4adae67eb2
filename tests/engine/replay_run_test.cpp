// Greedy training with a replay buffer: the bits of a slow obvious loop over the layers, which
// keeps every output that a stage has ever written.
#include "halfback/engine/replay_run.h"

#include "halfback/base/error.h"
#include "halfback/layers/dropout.h"
#include "tests/support/errors.h"
#include "tests/support/local_reference.h"
#include "tests/support/local_runs.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace halfback::testing {
namespace {

constexpr int kNumStages = 3;

// y = x / 2, in the memory of x, as a layer may.
class OverwritingLayer final : public OneTensorLayer {
 public:
  at::Tensor forward(const at::Tensor& input, Saved& /*saved*/, const Call& /*call*/) override {
    return input.mul_(0.5);
  }
  at::Tensor backward_input(const at::Tensor& grad_output,
                            Saved& /*saved*/,
                            const Call& /*call*/) override {
    return grad_output.mul(0.5);
  }
  SavedBytes saved_bytes(const Shape& /*input_shape*/,
                         std::int64_t /*element_bytes*/) const override {
    return {};
  }
};

// Above stage 0, the first layers overwrite what is read and draw a mask.
std::vector<StageLayers> greedy_stages(const NamedModel& model) {
  std::vector<StageLayers> stages =
      build(model, family("local-greedy", kNumStages), LocalHead::Linear);
  for (std::size_t i = 1; i < stages.size(); ++i) {
    StageLayers& own = stages[i];
    own.layers.insert(own.layers.begin(), std::make_unique<Dropout>(DropoutOptions{.site = i}));
    own.layers.insert(own.layers.begin(), std::make_unique<OverwritingLayer>());
    own.places.insert(own.places.begin(), 2, LayerPlace{});
  }
  return stages;
}

MicroBatch batch(const NamedModel& model, std::int64_t number) {
  return batches(model, 1, number).front();
}

ReplayRun::Options run_options(OptimizerKind kind = OptimizerKind::AdamW) {
  const PipelineOptions local = local_options(kind);
  return {.stage = local.stage, .update = local.update, .buffer_size = 4};
}

ReplayRun make_run(const NamedModel& model, const ReplayRun::Options& options) {
  return {greedy_stages(model), options,
          [model](std::int64_t number) { return batch(model, number); }};
}

double learning_rate(std::int64_t update) { return 1e-2 / static_cast<double>(update); }

class ReplayReference {
 public:
  ReplayReference(const NamedModel& model, const ReplayRun::Options& options)
      : model_(model), options_(options), stages_(greedy_stages(model)) {
    const c10::InferenceMode no_graph;
    const ModelLayout layout = lay_out(stages_);
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      ParameterStore& store = *stores_.emplace_back(
          std::make_unique<ParameterStore>(stages_[i].parameters(), ParameterStore::Options{}));
      store.initialize(kSeed, layout.numbers[i]);
      optimizers_.push_back(
          make_optimizer(options.stage.optimizer, store, {0, store.values().numel()}));
    }
  }

  // Returns the mean of the loss.
  double train(const ReplayTick& tick) {
    const c10::InferenceMode no_graph;
    const auto stage = static_cast<std::size_t>(tick.stage);
    auto& layers = stages_[stage].layers;
    LossLayer& head = *stages_[stage].loss;
    MicroBatch data = batch(model_, tick.batch);
    const auto targets = static_cast<double>(num_targets({&data, 1}));
    const Call call{.key = micro_batch_key(options_.stage.seed, tick.update, 0)};
    Tensors passed =
        tick.stage == 0 ? data.inputs : Tensors{written_.at({tick.stage - 1, tick.source}).clone()};
    std::vector<Saved> saved(layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
      passed = layers[i]->forward(std::move(passed), saved[i], call);
    }
    written_[{tick.stage, tick.update}] = passed.front().clone();
    Saved saved_loss;
    Saved* one_loss = &saved_loss;
    stores_[stage]->forget_gradients();
    const double loss = head.forward(passed.front().clone(), data.targets, saved_loss, call);
    Tensors gradients = {head.backward_input(1.0 / targets, saved_loss, call)};
    head.backward_weight({&one_loss, 1});
    for (std::size_t i = layers.size(); i-- > 0;) {
      Saved* one = &saved[i];
      gradients = layers[i]->backward_input(std::move(gradients), saved[i], call);
      layers[i]->backward_weight({&one, 1});
    }
    stores_[stage]->complete_gradients();
    const double norm = norm_of(stores_[stage]->squared_gradient_norms());
    optimizers_[stage]->step(*stores_[stage],
                             {.step = tick.update,
                              .learning_rate = learning_rate(tick.update),
                              .gradient_divisor = clip_divisor(norm, options_.update.clip_norm)});
    return loss / targets;
  }

  ParameterStore& store(int stage) { return *stores_[static_cast<std::size_t>(stage)]; }

 private:
  NamedModel model_;
  ReplayRun::Options options_;
  std::vector<StageLayers> stages_;
  std::vector<std::unique_ptr<ParameterStore>> stores_;
  std::vector<std::unique_ptr<Optimizer>> optimizers_;
  std::map<std::pair<int, std::int64_t>, at::Tensor> written_;  // by stage and update
};

void expect_same_store(ParameterStore& found, ParameterStore& expected) {
  EXPECT_TRUE(same_values(found.gradients(), expected.gradients())) << "gradients";
  EXPECT_TRUE(same_values(found.values(), expected.values())) << "values";
  EXPECT_EQ(found.statistics().defined(), expected.statistics().defined());
  EXPECT_TRUE(!found.statistics().defined() ||
              same_values(found.statistics(), expected.statistics()))
      << "statistics";
}

class ReplayRunTest : public OneThreadTest {
 protected:
  static void expect_reference_bits(const NamedModel& model,
                                    OptimizerKind optimizer,
                                    const ReplayOptions& plan) {
    ReplayRun::Options options = run_options(optimizer);
    options.buffer_size = plan.buffer_size;
    ReplayRun run = make_run(model, options);
    run.initialize(kSeed);
    ReplayReference reference(model, options);
    Replay replay(plan);
    int num_again = 0;
    std::map<std::pair<int, std::int64_t>, int> reads;
    for (int i = 0; i < 40; ++i) {
      const ReplayTick tick = replay.next();
      SCOPED_TRACE("tick " + std::to_string(i) + ", stage " + std::to_string(tick.stage));
      num_again += tick.stage > 0 && reads[{tick.stage, tick.source}]++ > 0 ? 1 : 0;
      ASSERT_EQ(run.run(tick, learning_rate(tick.update)), reference.train(tick));
      expect_same_store(run.stage(tick.stage).store(), reference.store(tick.stage));
      ASSERT_TRUE(run.stage(tick.stage).is_idle());
    }
    EXPECT_GT(num_again, 0) << "no output was read twice, so overwritten ones would go unnoticed";
    for (int stage = 0; stage < kNumStages; ++stage) {
      SCOPED_TRACE("stage " + std::to_string(stage));
      expect_same_store(run.stage(stage).store(), reference.store(stage));
    }
  }
};

TEST_F(ReplayRunTest, HasTheBitsOfTheReference) {
  for (const char* name : {"Mlp", "Llama", "Resnet"}) {
    for (const OptimizerKind optimizer : {OptimizerKind::Sgd, OptimizerKind::AdamW}) {
      for (const int slowed : {-1, 0, 1, 2}) {
        for (const int buffer_size : {1, 3}) {
          SCOPED_TRACE(std::string(name) + " " + to_string(optimizer) + ", slowed " +
                       std::to_string(slowed) + ", buffer " + std::to_string(buffer_size));
          ReplayOptions plan{.num_stages = kNumStages, .buffer_size = buffer_size, .seed = 5};
          if (slowed >= 0) {
            plan.slowed = {.stage = slowed, .factor = 3};
          }
          expect_reference_bits(model(name), optimizer, plan);
        }
      }
    }
  }
}

// Each stage trains on each batch right after the stage below: then nothing is stale.
std::vector<ReplayTick> ticks_in_depth_order(int num_batches) {
  std::vector<ReplayTick> ticks;
  for (std::int64_t i = 0; i < num_batches; ++i) {
    for (int stage = 0; stage < kNumStages; ++stage) {
      ticks.push_back(
          {.stage = stage, .update = i + 1, .batch = i, .source = stage > 0 ? i + 1 : 0});
    }
  }
  return ticks;
}

TEST_F(ReplayRunTest, InDepthOrderItIsSynchronousGreedyTraining) {
  for (const char* name : {"Mlp", "Llama", "Resnet"}) {
    for (const OptimizerKind optimizer : {OptimizerKind::Sgd, OptimizerKind::AdamW}) {
      SCOPED_TRACE(std::string(name) + " " + to_string(optimizer));
      const NamedModel trained = model(name);
      const ReplayRun::Options options = run_options(optimizer);
      ReplayRun run = make_run(trained, options);
      run.initialize(kSeed);
      LocalReference reference(greedy_stages(trained), family("local-greedy", kNumStages).losses,
                               options.stage, options.update);
      reference.initialize(kSeed);
      std::vector<double> losses;
      for (const ReplayTick& tick : ticks_in_depth_order(5)) {
        losses.push_back(run.run(tick, learning_rate(tick.update)));
        if (tick.stage + 1 < kNumStages) {
          continue;
        }
        const MicroBatch data = batch(trained, tick.batch);
        ASSERT_EQ(losses,
                  reference.train_step({&data, 1}, tick.update, learning_rate(tick.update)));
        losses.clear();
        for (int stage = 0; stage < kNumStages; ++stage) {
          SCOPED_TRACE("update " + std::to_string(tick.update) + ", stage " +
                       std::to_string(stage));
          expect_same_store(run.stage(stage).store(), reference.store(stage));
        }
      }
    }
  }
}

// Each stage is so many batches more behind the stage below, as with a queue of that length. At a
// time, stages come from the top.
std::vector<ReplayTick> ticks_with_queues(std::int64_t num_batches, std::int64_t length) {
  std::vector<ReplayTick> ticks;
  for (std::int64_t time = 0; time < num_batches + (kNumStages - 1) * (length + 1); ++time) {
    for (int stage = kNumStages; stage-- > 0;) {
      const std::int64_t i = time - stage * (length + 1);
      if (i >= 0 && i < num_batches) {
        ticks.push_back(
            {.stage = stage, .update = i + 1, .batch = i, .source = stage > 0 ? i + 1 : 0});
      }
    }
  }
  return ticks;
}

// A stage reads the same outputs in the same order. What made them does not depend on who reads.
TEST_F(ReplayRunTest, QueuesDelayAndChangeNoBit) {
  constexpr int kNumBatches = 40;
  const NamedModel trained = model("Mlp");
  ReplayRun::Options options = run_options();
  using Losses = std::map<std::pair<int, std::int64_t>, double>;  // by stage and batch
  const auto run_all = [&](ReplayRun& run, const std::vector<ReplayTick>& ticks) {
    run.initialize(kSeed);
    Losses losses;
    for (const ReplayTick& tick : ticks) {
      losses[{tick.stage, tick.batch}] = run.run(tick, learning_rate(tick.update));
    }
    return losses;
  };
  ReplayRun undelayed = make_run(trained, options);
  const Losses expected = run_all(undelayed, ticks_in_depth_order(kNumBatches));
  for (const int length : {0, 1, 2, 8, 32}) {
    SCOPED_TRACE("queues of " + std::to_string(length));
    options.buffer_size = length + 1;
    ReplayRun run = make_run(trained, options);
    ASSERT_EQ(run_all(run, ticks_with_queues(kNumBatches, length)), expected);
    for (int stage = 0; stage < kNumStages; ++stage) {
      expect_same_store(run.stage(stage).store(), undelayed.stage(stage).store());
    }
  }
}

// It is a power of two.
TEST_F(ReplayRunTest, TheLossScaleChangesNoBit) {
  const NamedModel trained = model("Mlp");
  ReplayRun::Options options = run_options();
  options.update = {};  // clipping would divide the scale away
  ReplayRun plain = make_run(trained, options);
  options.update.loss_scale.initial = 1024.0;
  ReplayRun scaled = make_run(trained, options);
  plain.initialize(kSeed);
  scaled.initialize(kSeed);
  Replay replay({.num_stages = kNumStages, .buffer_size = options.buffer_size});
  for (int i = 0; i < 20; ++i) {
    const ReplayTick tick = replay.next();
    EXPECT_EQ(scaled.run(tick, kLearningRate), plain.run(tick, kLearningRate));
    expect_same_store(scaled.stage(tick.stage).store(), plain.stage(tick.stage).store());
  }
}

TEST_F(ReplayRunTest, RefusesTicksThatDoNotFit) {
  ReplayRun::Options options = run_options();
  options.buffer_size = 2;
  ReplayRun run = make_run(model("Mlp"), options);
  run.initialize(kSeed);
  for (std::int64_t i = 0; i < 3; ++i) {
    run.run({.stage = 0, .update = i + 1, .batch = i}, kLearningRate);
  }
  const auto error_of = [&](const ReplayTick& tick) {
    return text_of_thrown<ScheduleError>([&] { run.run(tick, kLearningRate); });
  };
  EXPECT_TRUE(contains(error_of({.stage = 3}), "replay: a tick of stage 3; the stages are 0 to 2"));
  EXPECT_TRUE(contains(error_of({.stage = -1}), "a tick of stage -1; the stages are"));
  EXPECT_TRUE(contains(error_of({.stage = 0, .update = 6, .batch = 5}),
                       "replay: a tick is update 6 of stage 0, whose next is 4"));
  for (const std::int64_t source : {1, 4}) {
    EXPECT_TRUE(contains(error_of({.stage = 1, .batch = source - 1, .source = source}),
                         "replay: stage 1 reads what update " + std::to_string(source) +
                             " of stage 0 made of batch " + std::to_string(source - 1) +
                             "; stored are the outputs of the last 2 of its 3 updates"));
  }
  EXPECT_TRUE(contains(error_of({.stage = 1, .batch = 0, .source = 2}), "made of batch 0; stored"));
  EXPECT_NO_THROW(run.run({.stage = 1, .batch = 1, .source = 2}, kLearningRate));
}

TEST_F(ReplayRunTest, RefusesWhatCannotBeTrainedStageByStage) {
  const auto error_of = [](std::vector<StageLayers> stages, const ReplayRun::Options& options) {
    return text_of_thrown<ConfigError>([&] { ReplayRun(std::move(stages), options, {}); });
  };
  const NamedModel mlp = model("Mlp");
  EXPECT_TRUE(
      contains(error_of(build(mlp, family("1f1b", kNumStages), LocalHead::Linear), run_options()),
               "replay: stage 0 of 3 has no loss; give it a local head"));
  EXPECT_TRUE(contains(error_of(greedy_stages(model("LlamaTied")), run_options()),
                       "replay: parameters are tied, but each stage"));
  EXPECT_TRUE(contains(
      error_of(build(model("Llama"), family("local-greedy", kNumStages), LocalHead::Shared),
               run_options()),
      "replay: heads share the output matrix, but each stage is updated on its own"));
  ReplayRun::Options options = run_options();
  options.buffer_size = 0;
  EXPECT_TRUE(contains(error_of(greedy_stages(mlp), options), "the size of the buffers is 0"));
  options = run_options();
  options.stage.gradient_groups = 2;
  EXPECT_TRUE(contains(error_of(greedy_stages(mlp), options),
                       "there are several gradient groups or optimizer shards, but each stage"));
  options = run_options();
  options.update.clip_scope = ClipScope::Model;
  EXPECT_TRUE(contains(error_of(greedy_stages(mlp), options),
                       "clipping needs the norm of all gradients, but each stage"));
  options.update = {.loss_scale = {.is_dynamic = true}};
  EXPECT_TRUE(contains(error_of(greedy_stages(mlp), options),
                       "a dynamic loss scale needs all gradients, but"));
}

}  // namespace
}  // namespace halfback::testing
