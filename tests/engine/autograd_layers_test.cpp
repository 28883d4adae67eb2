// A model of libtorch modules over schedules: the bits of the plain run, the predicted bytes.
#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "halfback/layers/language_model_head.h"
#include "halfback/schedule/families.h"
#include "halfback/simulate/memory_model.h"
#include "tests/support/foreign_modules.h"
#include "tests/support/small_model.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tanh.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace halfback::testing {
namespace {

constexpr std::uint64_t kSeed = 9;
constexpr std::int64_t kWidth = 8;
constexpr std::int64_t kVocabulary = 31;  // of make_batches
constexpr int kNumBlocks = 3;
constexpr int kNumSteps = 3;
constexpr std::int64_t kNumSequences = 3;
constexpr std::int64_t kLength = 5;

// The module with initial values of its own.
ForeignModule drawn(ForeignModule module) {
  std::uint64_t seed = kSeed;
  for (const char letter : module.name) {
    seed = seed * 31 + static_cast<std::uint64_t>(letter);
  }
  for (const ForeignTensor& parameter : module.parameters) {
    const bool is_row = parameter.tensor.dim() == 1;
    parameter.tensor.variable_data().normal_(is_row ? 1.0 : 0.0, 0.3,
                                             at::make_generator<at::CPUGeneratorImpl>(seed++));
  }
  return module;
}

// The module's last node saves its output, which goes to the next stage as well.
ForeignFunction squashed(const ForeignFunction& inner) {
  return {.shapes = inner.shapes,
          .function = [call = inner.function](const auto& w, const at::Tensor& x) {
            return at::tanh(call(w, x));
          }};
}

ForeignModule table() {
  return make_module("table", {.shapes = {{kVocabulary, kWidth}},
                               .function = [](const auto& w, const at::Tensor& ids) {
                                 return at::embedding(w[0], ids);
                               }});
}

// Subtracts the mean of this micro-batch and keeps a running one.
ForeignModule centering() {
  ForeignModule module = make_module("center", {.shapes = {{kWidth, kWidth}}, .function = {}});
  at::Tensor running = at::ones({kWidth});
  module.statistics = {{"running_mean", running, 0.9}};
  module.forward = [w = module.parameters[0].tensor, running](const Tensors& inputs,
                                                              const Call& call) mutable {
    const at::Tensor mean = inputs[0].mean({0, 1});
    if (call.is_training) {
      running.mul_(0.9).add_(mean.detach(), 0.1);
    }
    return Tensors{at::linear(inputs[0] - (call.is_training ? mean : running), w)};
  };
  return module;
}

std::vector<StageLayers> build(int num_stages, const Recompute& recompute = {}) {
  std::vector<StageLayers> stages(static_cast<std::size_t>(num_stages));
  constexpr int kNumLayers = 3 + 2 * kNumBlocks;  // and the loss
  int next = 0;
  const auto add = [&](ForeignModule module, const LayerPlace& place,
                       const AutogradLayer::Options& options = {}) {
    StageLayers& stage = stages[static_cast<std::size_t>(next++ * num_stages / kNumLayers)];
    stage.add(std::make_unique<AutogradLayer>(drawn(std::move(module)), options), place);
  };
  add(table(), {}, {.input = AutogradLayer::Options::Input::Ids});
  for (int block = 0; block < kNumBlocks; ++block) {
    const std::string name = "block." + std::to_string(block);
    add(make_module(name + ".attention", squashed(attention_block(kWidth, 2))), {.block = block});
    add(make_module(name + ".mlp", mlp_block(kWidth, 12)), {.block = block},
        {.halves = block == 1 ? AutogradGraph::Halves::Together : AutogradGraph::Halves::Split});
  }
  add(centering(), {});
  stages.back().loss = std::make_unique<LanguageModelHead>(
      LanguageModelHead::Options{.num_channels = kWidth, .vocabulary = kVocabulary});
  apply_recompute(recompute, stages);
  return stages;
}

Schedule schedule_of(const PipelineRequest& request) {
  return build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                           .num_micro_batches = request.num_micro_batches,
                                           .two_stage = request.two_stage});
}

std::vector<MicroBatch> batches_of(const PipelineRequest& request, std::int64_t step) {
  return make_batches({.num_micro_batches = request.num_micro_batches,
                       .num_sequences = kNumSequences,
                       .sequence = kLength},
                      step);
}

std::vector<PipelineRequest> requests() {
  return {{"1f1b", 1, 8, true},  {"1f1b-2", 2, 4, true}, {"gpipe", 3, 8, false},
          {"gpipe", 4, 8, true}, {"1f1b-2", 4, 8, true}, {"zb-h1", 4, 8, true},
          {"zb-v", 1, 8, true},  {"zb-v", 2, 8, true},   {"zb-v", 4, 8, true}};
}

void expect_bits_and_bytes(const PipelineRequest& request, const Recompute& recompute) {
  SCOPED_TRACE(request.schedule + " on " + std::to_string(request.num_ranks));
  const PipelineOptions options = parity_options();
  PlainRun plain(std::move(build(1).front()), options.stage, options.update);
  plain.initialize(kSeed);
  const Schedule schedule = schedule_of(request);
  Pipeline pipeline(build(schedule.num_stages(), recompute), make_runnable(schedule), options);
  pipeline.initialize(kSeed);
  const MemoryPrediction predicted = predict_memory(
      pipeline.schedule(), {.stages = stage_bytes(build(schedule.num_stages(), recompute),
                                                  {.input_shape = {kNumSequences, kLength}})});
  for (int step = 1; step <= kNumSteps; ++step) {
    const auto batches = batches_of(request, step);
    const auto expected = plain.train_step(batches, step, 3e-3);
    const StepResult found = pipeline.train_step(batches, {.number = step, .learning_rate = 3e-3});
    ASSERT_EQ(found.loss, expected.loss) << "step " << step;
    ASSERT_EQ(found.gradient_norm, expected.gradient_norm) << "step " << step;
    for (const Buffer buffer : {Buffer::Gradients, Buffer::Values}) {
      ASSERT_TRUE(bytes_of(pipeline, buffer) == bytes_of(plain.stage(), buffer)) << "step " << step;
    }
    for (std::size_t rank = 0; rank < found.memory.size(); ++rank) {
      EXPECT_EQ(found.memory[rank].activations, predicted.peak[rank])
          << "rank " << rank << ", step " << step;
    }
  }
  for (int stage = 0; stage < pipeline.num_stages(); ++stage) {
    EXPECT_TRUE(pipeline.stage(stage).is_idle());
  }
}

TEST(AutogradLayersTest, HaveTheBitsOfThePlainRunAndThePredictedBytes) {
  for (const PipelineRequest& request : requests()) {
    expect_bits_and_bytes(request, {});
  }
}

TEST(AutogradLayersTest, HaveThemWhenForwardsAreRecomputed) {
  for (const PipelineRequest& request : requests()) {
    expect_bits_and_bytes(request, {.recomputed = Recompute::Forward::OfBlocks});
  }
}

TEST(AutogradLayersTest, TellWhereTheyRefuse) {
  const PipelineRequest request = {.schedule = "1f1b", .num_ranks = 2};
  std::vector<StageLayers> stages = build(2);
  stages[1].layers[0] = std::make_unique<AutogradLayer>(make_module(
      "lost",
      {.shapes = {}, .function = [](const auto&, const at::Tensor& x) { return x.detach() + 1; }}));
  Pipeline pipeline(std::move(stages), make_runnable(schedule_of(request)), parity_options());
  try {
    pipeline.train_step(batches_of(request, 1), {.number = 1, .learning_rate = 1e-3});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).substr(0, 70),
              "rank 1, position 1, 1F0: module lost: no gradient leads from its outpu");
  }
}

}  // namespace
}  // namespace halfback::testing
