// Pruning against a ranking of all scores, written out, and what it promises: the same weights on
// any shape of a run, which stay 0 to the bit.
#include "halfback/train/pruning.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/engine/plain_run.h"
#include "halfback/schedule/passes.h"
#include "halfback/train/training.h"
#include "tests/support/errors.h"
#include "tests/support/local_runs.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

namespace halfback::testing {
namespace {

constexpr int kNumBatches = 3;

using Masks = std::map<std::string, std::vector<float>>;  // by parameter

std::vector<float> floats_of(const at::Tensor& tensor) {
  const auto* const values = tensor.const_data_ptr<float>();
  return {values, values + tensor.numel()};
}

Masks masks_of(Pipeline& pipeline) {
  Masks masks;
  for (const LocalStage& local : pipeline.local_stages()) {
    for (const Parameter* const one : local.stage->store().parameters()) {
      if (one->trains) {
        const std::vector<float> mask = floats_of(one->mask);
        const auto found = masks.emplace(one->name, mask).first;
        EXPECT_EQ(found->second, mask) << one->name << " of another replica, or a copy";
      }
    }
  }
  return masks;
}

class PruningTest : public OneThreadTest {
 protected:
  static PipelineOptions pruned_options(OptimizerKind kind = OptimizerKind::AdamW) {
    PipelineOptions options = parity_options();
    options.stage.optimizer.kind = kind;
    options.stage.is_pruned = true;
    return options;
  }

  static std::unique_ptr<Pipeline> pipeline_of(const NamedModel& model,
                                               const Schedule& schedule,
                                               const PipelineOptions& options) {
    auto made = std::make_unique<Pipeline>([=] { return build(model, schedule, {}); },
                                           make_runnable(schedule), options);
    made->initialize(kSeed);
    return made;
  }

  static Pruned prune_for(const NamedModel& model,
                          Pipeline& pipeline,
                          const PruneOptions& options) {
    return prune(pipeline, options, kSeed,
                 {.num_batches = kNumBatches,
                  .batch = [&](std::int64_t step) { return batches(model, 4, step); }},
                 *alone());
  }
};

// One score, and where it comes from.
struct Score {
  double value = 0.0;
  const Parameter* parameter = nullptr;
  std::size_t element = 0;
};

// Ranks all elements of the plain run.
Masks ranked_masks(const NamedModel& model, const PruneOptions& options) {
  const c10::InferenceMode no_graph;
  const Schedule one = family("gpipe", 1);
  PlainRun plain(std::move(build(model, one, {}).front()), parity_options().stage, {});
  plain.initialize(kSeed);
  const std::vector<Parameter*> parameters = plain.stage().store().parameters();
  std::map<const Parameter*, std::vector<double>> sums;
  for (int step = 1; step <= kNumBatches; ++step) {
    plain.accumulate_gradients(batches(model, 4, step));
    for (const Parameter* const parameter : parameters) {
      if (parameter->trains) {
        const std::vector<float> gradient = floats_of(parameter->gradient);
        std::vector<double>& sum = sums[parameter];
        sum.resize(gradient.size());
        std::ranges::transform(sum, gradient, sum.begin(), std::plus<>());
      }
    }
  }
  std::vector<Score> scores;
  Masks masks;
  std::uint64_t number = 0;
  for (const Parameter* const parameter : parameters) {
    if (parameter->trains && !parameter->is_copy) {
      const std::vector<float> values = floats_of(parameter->value);
      for (std::size_t i = 0; i < values.size(); ++i) {
        double score = std::abs(static_cast<double>(values[i]));
        if (options.method == PruneMethod::Snip) {
          score = std::abs(sums.at(parameter)[i] * static_cast<double>(values[i]));
        } else if (options.method == PruneMethod::Random) {
          score = to_unit_interval(keyed_hash(Purpose::PruneScore, {kSeed, number, i}));
        }
        scores.push_back({score, parameter, i});
      }
      masks[parameter->name].resize(values.size());
    }
    number += parameter->is_copy ? 0 : 1;
  }
  std::ranges::stable_sort(scores, std::greater<>(), &Score::value);
  scores.resize(static_cast<std::size_t>(
      std::llround((1.0 - options.sparsity) * static_cast<double>(scores.size()))));
  for (const Score& score : scores) {
    masks.at(score.parameter->name)[score.element] = 1.0F;
  }
  return masks;
}

// Scales of norms are all 1 and biases all 0, so there are ties.
TEST_F(PruningTest, IsTheRankingOfAllScores) {
  for (const char* name : {"Mlp", "Llama", "LlamaTied", "Resnet", "Mamba"}) {
    for (const PruneOptions& options :
         {PruneOptions{.sparsity = 0.9}, PruneOptions{.sparsity = 0.123},
          PruneOptions{.sparsity = 0.999},
          PruneOptions{.sparsity = 0.5, .method = PruneMethod::Random},
          PruneOptions{.sparsity = 0.9, .method = PruneMethod::Magnitude},
          PruneOptions{.sparsity = 0.02, .method = PruneMethod::Magnitude}}) {
      SCOPED_TRACE(fmt::format("{} {} {}", name, to_string(options.method), options.sparsity));
      const NamedModel small = model(name);
      const auto pipeline = pipeline_of(small, family("1f1b", 2), pruned_options());
      const Pruned pruned = prune_for(small, *pipeline, options);
      EXPECT_EQ(pruned.num_weights, num_parameters(small.config));
      EXPECT_EQ(pruned.num_kept,
                std::llround((1.0 - options.sparsity) * static_cast<double>(pruned.num_weights)));
      const Masks masks = masks_of(*pipeline);
      EXPECT_TRUE(masks == ranked_masks(small, options));
      std::int64_t num_kept = 0;
      for (const auto& [parameter, mask] : masks) {
        num_kept += std::ranges::count(mask, 1.0F);
        EXPECT_EQ(std::ranges::count(mask, 1.0F) + std::ranges::count(mask, 0.0F),
                  std::ssize(mask));
      }
      EXPECT_EQ(num_kept, pruned.num_kept);
    }
  }
}

TEST_F(PruningTest, NamesMatricesOfWhichNothingIsLeft) {
  const NamedModel small = model("Mlp");
  const auto pipeline = pipeline_of(small, family("1f1b", 2), pruned_options());
  const Pruned pruned = prune_for(small, *pipeline, {.sparsity = 0.995});
  std::vector<std::string> emptied;
  for (const auto& [name, mask] : masks_of(*pipeline)) {
    if (name.ends_with("weight") && std::ranges::count(mask, 1.0F) == 0) {
      emptied.push_back(name);
    }
  }
  EXPECT_FALSE(emptied.empty());
  EXPECT_TRUE(std::ranges::is_permutation(pruned.emptied, emptied));
}

// SNIP runs the model, and leaves no trace of it in running statistics.
TEST_F(PruningTest, LeavesRunningStatistics) {
  const NamedModel small = model("Resnet");
  const auto pruned = pipeline_of(small, family("1f1b", 2), pruned_options());
  prune_for(small, *pruned, {.sparsity = 0.5});
  const auto other = pipeline_of(small, family("1f1b", 2), pruned_options());
  for (int stage = 0; stage < 2; ++stage) {
    EXPECT_TRUE(
        pruned->stage(stage).store().statistics().equal(other->stage(stage).store().statistics()));
  }
}

// Positive zeros, as bits.
void expect_zeros_under_masks(Pipeline& pipeline) {
  for (const LocalStage& local : pipeline.local_stages()) {
    std::int64_t num_pruned = 0;
    for (const Parameter* const one : local.stage->store().parameters()) {
      const std::vector<float> values = floats_of(one->value);
      const std::vector<float> mask =
          one->trains ? floats_of(one->mask) : std::vector<float>(values.size(), 1.0F);
      num_pruned += std::ranges::count(mask, 0.0F);
      for (std::size_t i = 0; i < values.size(); ++i) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, &values[i], sizeof(bits));
        ASSERT_TRUE(mask[i] == 1.0F || bits == 0) << one->name << " " << i;
      }
      EXPECT_EQ(one->num_pruned, std::ranges::count(mask, 0.0F));
    }
    EXPECT_GT(num_pruned, 0);
  }
}

// Whatever the optimizer adds: momentum, decay, moments.
TEST_F(PruningTest, AnyShapeOfTheRunHasTheBitsOfOneRankAndItsZeros) {
  struct Shape {
    Schedule schedule;
    bool shards_optimizer = false;
  };
  const auto replicas = [](const char* name) {
    return data_parallel(
        build_schedule(name, {.num_ranks = 2, .num_micro_batches = 2, .two_stage = true}), 2);
  };
  for (const char* name : {"Mlp", "Llama", "BertPaper"}) {
    for (const int optimizer : {0, 1, 2}) {
      const NamedModel small = model(name);
      SCOPED_TRACE(fmt::format("{}, optimizer {}", name, optimizer));
      PipelineOptions options =
          pruned_options(optimizer == 0 ? OptimizerKind::AdamW : OptimizerKind::Sgd);
      options.stage.optimizer.is_nesterov = optimizer == 2;
      options.gradient_groups = 2;
      const auto run = [&](const Shape& shape) {
        PipelineOptions own = options;
        own.shards_optimizer = shape.shards_optimizer;
        auto pipeline = pipeline_of(small, shape.schedule, own);
        prune_for(small, *pipeline, {.sparsity = 0.6});
        for (int step = 1; step <= 4; ++step) {
          pipeline->train_step(batches(small, 4, step),
                               {.number = step, .learning_rate = kLearningRate});
        }
        expect_zeros_under_masks(*pipeline);
        return pipeline;
      };
      const auto expected = run({family("gpipe", 1)});
      for (const Shape& shape : {Shape{family("zb-h1", 2)}, Shape{family("1f1b", 4)},
                                 Shape{replicas("1f1b")}, Shape{replicas("gpipe"), true}}) {
        const auto found = run(shape);
        EXPECT_TRUE(bytes_of(*found, Buffer::Values) == bytes_of(*expected, Buffer::Values))
            << shape.schedule.name;
        EXPECT_TRUE(masks_of(*found) == masks_of(*expected)) << shape.schedule.name;
      }
    }
  }
}

// The norm that is clipped is that of what trains.
TEST_F(PruningTest, NormsAreOfWhatTrains) {
  const NamedModel small = model("Llama");
  const auto pipeline = pipeline_of(small, family("1f1b", 2), pruned_options());
  prune_for(small, *pipeline, {.sparsity = 0.9});
  const StepResult result = pipeline->accumulate_gradients(batches(small, 4, 1));
  double squares = 0.0;
  for (const LocalStage& local : pipeline->local_stages()) {
    for (const Parameter* const one : local.stage->store().parameters()) {
      const std::vector<float> gradient = floats_of(one->gradient);
      const std::vector<float> mask = floats_of(one->mask);
      for (std::size_t i = 0; i < gradient.size(); ++i) {
        squares += mask[i] == 1.0F ? std::pow(static_cast<double>(gradient[i]), 2) : 0.0;
      }
    }
  }
  EXPECT_NEAR(result.gradient_norm, std::sqrt(squares), 1e-12 * std::sqrt(squares));
}

TEST_F(PruningTest, HeadsInsideTheModelStayWhole) {
  const NamedModel small = model("Mlp");
  const auto pipeline = pipeline_of(small, family("local-greedy", 2), [] {
    PipelineOptions options = local_options();
    options.stage.is_pruned = true;
    return options;
  }());
  const Pruned pruned = prune_for(small, *pipeline, {.sparsity = 0.9});
  EXPECT_EQ(pruned.num_weights, num_parameters(small.config));
  bool has_head = false;
  for (const auto& [name, mask] : masks_of(*pipeline)) {
    if (is_of_local_head(name)) {
      has_head = true;
      EXPECT_EQ(std::ranges::count(mask, 0.0F), 0);
    }
  }
  EXPECT_TRUE(has_head);
}

TEST_F(PruningTest, RefusesScoresThatAreNotFinite) {
  const c10::InferenceMode no_graph;
  const NamedModel small = model("Mlp");
  const auto pipeline = pipeline_of(small, family("1f1b", 2), pruned_options());
  pipeline->stage(0).store().parameters().front()->value.fill_(
      std::numeric_limits<float>::infinity());
  EXPECT_TRUE(
      contains(text_of_thrown<Error>([&] { prune_for(small, *pipeline, {.sparsity = 0.5}); }),
               "scores are not finite at the initial values"));
}

// Operations of what is left, and of activations, which pruning does not change.
TEST_F(PruningTest, LayersCountTheOperationsThatAreLeft) {
  const NamedModel small = model("Mlp");
  const auto pipeline = pipeline_of(small, family("1f1b", 1), pruned_options());
  prune_for(small, *pipeline, {.sparsity = 0.7});
  const std::vector<StageFlops> dense =
      stage_flops(build(small, family("1f1b", 1), {}), input_shape(small.config, 3));
  std::int64_t num_kept = 0;
  std::int64_t num_weights = 0;
  for (const auto& layer : pipeline->stage(0).layers().layers) {
    for (const Parameter* const one : layer->parameters()) {
      if (one->decays) {
        num_kept += std::ranges::count(floats_of(one->mask), 1.0F);
        num_weights += one->numel();
      }
    }
  }
  Shape shape = input_shape(small.config, 3);
  Flops left;
  std::vector<Shape> shapes = {shape};
  for (const auto& layer : pipeline->stage(0).layers().layers) {
    Described described = layer->describe(std::move(shapes), sizeof(float));
    shapes = std::move(described.shapes);
    left += described.flops;
  }
  EXPECT_EQ(left.weight, 2 * 3 * num_kept);
  EXPECT_EQ(dense.front().layers.weight, 2 * 3 * num_weights);
}

class PrunedTrainingTest : public ::testing::Test {
 protected:
  PrunedTrainingTest() { spit(data_, tiny_text()); }

  TrainingConfig config(const std::string& checkpoint, const TinySchedule& schedule = {}) const {
    TrainingConfig made = tiny_training(data_, schedule);
    made.pruning = {.sparsity = 0.8, .num_samples = 24};
    made.checkpoint = directory_ / checkpoint;
    made.checkpoint_every = 3;
    return made;
  }

  std::string bytes(const std::string& checkpoint) const {
    return slurp(directory_ / checkpoint / "model.safetensors") +
           slurp(directory_ / checkpoint / "training_state.safetensors");
  }

  TemporaryDirectory directory_;
  std::filesystem::path data_ = directory_ / "text.txt";
};

TEST_F(PrunedTrainingTest, ResumesToTheBitOnOtherStages) {
  const std::vector<double> whole = losses_of(config("whole"));
  ASSERT_EQ(std::ssize(losses_of(config("half"), 3)), 3);
  TrainingConfig rest = config("half", {.name = "gpipe", .num_ranks = 4});
  rest.resumes_from = find_resume_point(rest.checkpoint);
  EXPECT_EQ(losses_of(rest), std::vector<double>(whole.begin() + 3, whole.end()));
  EXPECT_TRUE(bytes("half") == bytes("whole"));
}

TEST_F(PrunedTrainingTest, SaysWhatIsLeft) {
  TrainingConfig made = config("a");
  std::string notes;
  made.on_note = [&](const std::string& text) { notes += text + "\n"; };
  const Training training(made);
  const std::int64_t total = num_parameters(made.model);
  EXPECT_TRUE(contains(notes, fmt::format("{} of {} weights train, and the others stay 0 "
                                          "(snip 0.8)\n",
                                          std::llround(0.2 * static_cast<double>(total)), total)))
      << notes;
}

TEST_F(PrunedTrainingTest, AnotherPruningIsRefusedOnResume) {
  losses_of(config("a"), 3);
  TrainingConfig other = config("a");
  other.resumes_from = find_resume_point(other.checkpoint);
  other.pruning.sparsity = 0.5;
  const auto refusal = [&] {
    return text_of_thrown<ConfigError>([&] { const Training refused(other); });
  };
  EXPECT_TRUE(contains(refusal(),
                       "the run was with --prune and --sparsity: 'snip 0.8', this one has "
                       "'snip 0.5'; resume with the same"));
  other.pruning.sparsity = 0.0;
  EXPECT_TRUE(contains(refusal(), "this one has none"));
}

}  // namespace
}  // namespace halfback::testing
