// The promise of the product: whatever the schedule, the ranks and the split of the backward, ten
// steps of training have the bits of the plain run.
#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "tests/support/small_model.h"

#include <gtest/gtest.h>

#include <map>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 10;
constexpr std::uint64_t kSeed = 42;
constexpr double kLearningRate = 3e-3;

struct PlainStep {
  double loss = 0.0;
  double gradient_norm = 0.0;
  std::string gradients;
  std::string values;
};

// The reference, run once for each number of micro-batches and of layers, and each optimizer.
struct PlainHistory {
  std::vector<PlainStep> steps;
  std::vector<double> last_values;
};

PlainHistory run_plain(int num_micro_batches, const PipelineOptions& options, int num_layers = 4) {
  const LlamaConfig config = small_llama(num_layers);
  PlainRun plain(std::move(build_llama(config, {static_cast<int>(config.num_layers)}).front()),
                 options.stage, options.update);
  plain.initialize(kSeed);
  PlainHistory history;
  for (int step = 1; step <= kNumSteps; ++step) {
    const auto result = plain.train_step(
        make_batches({.num_micro_batches = num_micro_batches}, step), step, kLearningRate);
    history.steps.push_back({result.loss, result.gradient_norm,
                             bytes_of(plain.stage(), Buffer::Gradients),
                             bytes_of(plain.stage(), Buffer::Values)});
  }
  history.last_values = numbers_of(plain.stage(), Buffer::Values);
  return history;
}

const PlainHistory& plain_history(int num_micro_batches, int num_layers = 4) {
  static std::map<std::pair<int, int>, PlainHistory> histories;
  const std::pair key(num_micro_batches, num_layers);
  auto found = histories.find(key);
  if (found == histories.end()) {
    found =
        histories.emplace(key, run_plain(num_micro_batches, parity_options(), num_layers)).first;
  }
  return found->second;
}

std::string describe(const PipelineRequest& request) {
  return request.schedule + ", " + std::to_string(request.num_ranks) + " ranks, " +
         std::to_string(request.num_micro_batches) + " micro-batches, two-stage " +
         (request.two_stage ? "on" : "off");
}

void expect_bits_of(const PlainHistory& plain, Pipeline* pipeline) {
  for (int step = 1; step <= kNumSteps; ++step) {
    const PlainStep& expected = plain.steps[static_cast<std::size_t>(step - 1)];
    const StepResult found = pipeline->train_step(
        make_batches({.num_micro_batches = pipeline->num_micro_batches()}, step),
        {.number = step, .learning_rate = kLearningRate});
    ASSERT_EQ(found.loss, expected.loss) << "step " << step;
    ASSERT_EQ(found.gradient_norm, expected.gradient_norm) << "step " << step;
    ASSERT_TRUE(bytes_of(*pipeline, Buffer::Gradients) == expected.gradients) << "step " << step;
    ASSERT_TRUE(bytes_of(*pipeline, Buffer::Values) == expected.values) << "step " << step;
    for (int stage = 0; stage < pipeline->num_stages(); ++stage) {
      ASSERT_TRUE(pipeline->stage(stage).is_idle()) << "step " << step << ", stage " << stage;
    }
  }
}

void expect_bits_of(const PlainHistory& plain,
                    const PipelineRequest& request,
                    const PipelineOptions& options) {
  SCOPED_TRACE(describe(request));
  expect_bits_of(plain, make_pipeline(request, options).get());
}

// Every family of backprop with one replica of the weights, at every shape that it admits.
std::vector<PipelineRequest> all_requests() {
  std::vector<PipelineRequest> all;
  for (const Family& family : families()) {
    if (family.replicas > 1 || *family.complete({}).stage_updates) {
      continue;
    }
    for (int ranks = 1; ranks <= 4; ++ranks) {
      for (const int micro_batches : {1, 2, 3, 4, 6, 8}) {
        for (const bool two_stage : {false, true}) {
          try {
            build_schedule(
                family.name,
                {.num_ranks = ranks, .num_micro_batches = micro_batches, .two_stage = two_stage});
          } catch (const Error&) {
            continue;
          }
          all.push_back({family.name, ranks, micro_batches, two_stage});
        }
      }
    }
  }
  return all;
}

TEST(ParityTest, EveryScheduleHasTheBitsOfThePlainRun) {
  const std::vector<PipelineRequest> requests = all_requests();
  ASSERT_GE(requests.size(), 100U);
  for (const PipelineRequest& request : requests) {
    const int num_stages =
        build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                          .num_micro_batches = request.num_micro_batches,
                                          .two_stage = request.two_stage})
            .num_stages();
    expect_bits_of(plain_history(request.num_micro_batches, layers_for(num_stages)), request,
                   parity_options());
    if (HasFatalFailure()) {
      return;
    }
  }
}

Schedule with_updates(const PipelineRequest& request) {
  return add_updates(
      build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                        .num_micro_batches = request.num_micro_batches,
                                        .two_stage = request.two_stage}));
}

TEST(ParityTest, UpdatesInListsHaveTheBitsOfThePlainRunWithoutClipping) {
  PipelineOptions options = parity_options();
  options.update = {};
  std::map<int, PlainHistory> plain;  // by number of layers
  int num_schedules = 0;
  for (const PipelineRequest& request : all_requests()) {
    if (request.num_micro_batches != 4 || request.num_ranks < 2) {
      continue;
    }
    SCOPED_TRACE(describe(request));
    const Schedule schedule = with_updates(request);
    const int num_layers = layers_for(schedule.num_stages());
    if (plain.count(num_layers) == 0) {
      plain[num_layers] = run_plain(4, options, num_layers);
    }
    expect_bits_of(plain.at(num_layers), make_pipeline(schedule, options).get());
    ++num_schedules;
  }
  EXPECT_GE(num_schedules, 30);
}

// Each stage has its own norm; some are above the limit and some below, in lists and behind them.
TEST(ParityTest, StagesThatAreClippedOnTheirOwnHaveTheBitsOfThePlainRun) {
  PipelineOptions options = parity_options();
  options.update = {.clip_norm = 0.5, .clip_scope = ClipScope::Stage};
  const PipelineRequest request{.schedule = "1f1b", .num_ranks = 4};
  for (const bool in_lists : {false, true}) {
    const auto pipeline =
        in_lists ? make_pipeline(with_updates(request), options) : make_pipeline(request, options);
    std::vector<std::size_t> num_parameters;
    for (int stage = 0; stage < pipeline->num_stages(); ++stage) {
      num_parameters.push_back(pipeline->stage(stage).store().parameters().size());
    }
    PlainRun plain(std::move(build_llama(small_llama(), {4}).front()), options.stage,
                   options.update, num_parameters);
    plain.initialize(kSeed);
    for (int step = 1; step <= kNumSteps; ++step) {
      const auto batches = make_batches({.num_micro_batches = 4}, step);
      const auto expected = plain.train_step(batches, step, kLearningRate);
      const StepResult found =
          pipeline->train_step(batches, {.number = step, .learning_rate = kLearningRate});
      EXPECT_EQ(found.loss, expected.loss) << step;
      EXPECT_EQ(found.gradient_norm, expected.gradient_norm) << step;
      EXPECT_TRUE(bytes_of(*pipeline, Buffer::Values) == bytes_of(plain.stage(), Buffer::Values))
          << step;
    }
    EXPECT_FALSE(bytes_of(*pipeline, Buffer::Values) == plain_history(4).steps.back().values);
  }
}

TEST(ParityTest, ClippingIsOnInSomeStepsAndOffInOthers) {
  int clipped = 0;
  for (const PlainStep& step : plain_history(4).steps) {
    clipped += step.gradient_norm > parity_options().update.clip_norm ? 1 : 0;
  }
  std::string norms;
  for (const PlainStep& step : plain_history(4).steps) {
    norms += std::to_string(step.gradient_norm) + " ";
  }
  EXPECT_GT(clipped, 0) << norms;
  EXPECT_LT(clipped, kNumSteps) << norms;
}

TEST(ParityTest, SgdHasTheBitsOfThePlainRun) {
  PipelineOptions options = parity_options();
  options.stage.optimizer.kind = OptimizerKind::Sgd;
  expect_bits_of(run_plain(4, options), {.schedule = "1f1b", .num_ranks = 3}, options);
}

TEST(ParityTest, MoreThreadsPerRankHaveTheBitsOfThePlainRun) {
  PipelineOptions options = parity_options();
  options.threads_per_rank = 2;
  expect_bits_of(plain_history(4), {.schedule = "1f1b", .num_ranks = 2}, options);
}

// Products that are large enough for another kernel, with sums that it has to be kept from sharing.
TEST(ParityTest, LargeProductsHaveTheBitsOfThePlainRunOnAnyNumberOfThreads) {
  LlamaConfig config = small_llama();
  config.width = 64;
  config.hidden = 1600;
  PlainRun plain(std::move(build_llama(config, {static_cast<int>(config.num_layers)}).front()),
                 parity_options().stage, parity_options().update);
  plain.initialize(kSeed);
  const auto batches = make_batches({.num_micro_batches = 2, .num_sequences = 250}, 1);
  const auto expected = plain.train_step(batches, 1, kLearningRate);
  for (const int threads : {1, 2, 3}) {
    PipelineOptions options = parity_options();
    options.threads_per_rank = threads;
    Pipeline pipeline(
        build_llama(config, {2, 2}),
        make_runnable(build_schedule("1f1b", {.num_ranks = 2, .num_micro_batches = 2})), options);
    pipeline.initialize(kSeed);
    const StepResult found =
        pipeline.train_step(batches, {.number = 1, .learning_rate = kLearningRate});
    EXPECT_EQ(found.loss, expected.loss) << threads << " threads";
    EXPECT_TRUE(bytes_of(pipeline, Buffer::Gradients) == bytes_of(plain.stage(), Buffer::Gradients))
        << threads << " threads";
  }
}

TEST(ParityTest, ConcatenatedWeightGradientsAgreeWithinRounding) {
  PipelineOptions options = parity_options();
  options.stage.weight_gradients = WeightGradients::Concatenated;
  for (const PipelineRequest& request :
       {PipelineRequest{"gpipe", 2, 4, true}, PipelineRequest{"1f1b-1", 4, 4, true},
        PipelineRequest{"1f1b-2", 3, 6, true}}) {
    SCOPED_TRACE(describe(request));
    const auto pipeline = make_pipeline(request, options);
    const auto looped = make_pipeline(request, parity_options());
    const auto batches = make_batches({.num_micro_batches = request.num_micro_batches}, 1);
    pipeline->accumulate_gradients(batches);
    looped->accumulate_gradients(batches);
    EXPECT_LT(relative_difference(numbers_of(*pipeline, Buffer::Gradients),
                                  numbers_of(*looped, Buffer::Gradients)),
              1e-5);
    // It is another order of sums: equal bits would mean that nothing was concatenated.
    EXPECT_FALSE(bytes_of(*pipeline, Buffer::Gradients) == bytes_of(*looped, Buffer::Gradients));
  }
}

TEST(ParityTest, EvaluationDoesNotDependOnTheCut) {
  const auto batches = make_batches({.num_micro_batches = 7}, 5);  // not what the schedules have
  const Evaluation expected = make_pipeline({.num_ranks = 1})->evaluate(batches);
  for (int ranks = 2; ranks <= 4; ++ranks) {
    EXPECT_EQ(make_pipeline({.num_ranks = ranks})->evaluate(batches), expected);
  }
}

}  // namespace
}  // namespace halfback::testing
