// Training over several replicas of the weights: the bits of one, in as many gradient groups.
#include "halfback/base/error.h"
#include "halfback/engine/plain_run.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "tests/support/errors.h"
#include "tests/support/schedules.h"
#include "tests/support/small_model.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace halfback::testing {
namespace {

constexpr int kNumSteps = 4;
constexpr std::uint64_t kSeed = 42;
constexpr double kLearningRate = 3e-3;

Schedule replicated(const PipelineRequest& request, int data_parallel_size) {
  return data_parallel(
      build_schedule(request.schedule, {.num_ranks = request.num_ranks,
                                        .num_micro_batches = request.num_micro_batches,
                                        .two_stage = request.two_stage}),
      data_parallel_size);
}

// All bytes of all replicas of a stage, which must be alike; those of the first.
std::string bytes_of_replicas(Pipeline& pipeline, Buffer buffer) {
  std::vector<std::string> by_replica(
      static_cast<std::size_t>(pipeline.schedule().placement.num_replicas()));
  for (const LocalStage& local : pipeline.local_stages()) {
    by_replica[static_cast<std::size_t>(local.replica)] += bytes_of(*local.stage, buffer);
  }
  for (const std::string& bytes : by_replica) {
    EXPECT_TRUE(bytes == by_replica.front()) << "replicas of the weights differ";
  }
  return by_replica.front();
}

void expect_plain_bits(const Schedule& schedule,
                       int gradient_groups,
                       PipelineOptions options = parity_options()) {
  SCOPED_TRACE(schedule.name + ", " + std::to_string(schedule.num_ranks()) + " ranks, " +
               std::to_string(schedule.placement.num_replicas()) + " replicas, " +
               std::to_string(schedule.num_micro_batches) + " micro-batches, " +
               std::to_string(gradient_groups) + " groups");
  options.gradient_groups = gradient_groups;
  const auto pipeline = make_pipeline(schedule, options);
  const int num_layers = layers_for(schedule.num_stages());
  Stage::Options plain_options = options.stage;
  plain_options.gradient_groups = gradient_groups;
  PlainRun plain(std::move(build_llama(small_llama(num_layers), {num_layers}).front()),
                 plain_options, options.update);
  plain.initialize(kSeed);
  for (int step = 1; step <= kNumSteps; ++step) {
    const auto batches = make_batches({.num_micro_batches = schedule.num_micro_batches}, step);
    const auto expected = plain.train_step(batches, step, kLearningRate);
    const StepResult found =
        pipeline->train_step(batches, {.number = step, .learning_rate = kLearningRate});
    ASSERT_EQ(found.loss, expected.loss) << "step " << step;
    ASSERT_EQ(found.gradient_norm, expected.gradient_norm) << "step " << step;
    ASSERT_TRUE(bytes_of_replicas(*pipeline, Buffer::Gradients) ==
                bytes_of(plain.stage(), Buffer::Gradients))
        << "step " << step;
    ASSERT_TRUE(bytes_of_replicas(*pipeline, Buffer::Values) ==
                bytes_of(plain.stage(), Buffer::Values))
        << "step " << step;
  }
}

TEST(ReplicasTest, DataParallelRunsHaveTheBitsOfOneCopyInAsManyGroups) {
  for (const char* const name : {"1f1b", "gpipe", "zb-h1"}) {
    for (const int ranks : {1, 2}) {
      for (const int num_replicas : {2, 3, 4}) {
        expect_plain_bits(replicated({name, ranks, 2, true}, num_replicas), num_replicas);
      }
    }
  }
}

TEST(ReplicasTest, AsManyGroupsHaveTheSameBitsOnAnyNumberOfCopies) {
  // 8 micro-batches in 4 groups, on 1, 2 and 4 replicas.
  for (const int num_replicas : {1, 2, 4}) {
    for (const bool two_stage : {false, true}) {
      expect_plain_bits(replicated({"1f1b", 2, 8 / num_replicas, two_stage}, num_replicas), 4);
    }
  }
  expect_plain_bits(replicated({"zb-h1", 2, 6, true}, 1), 2);
  expect_plain_bits(replicated({"1f1b", 2, 4, true}, 3), 6);
}

TEST(ReplicasTest, SchedulesWithTwoCopiesOnTheSameRanksRun) {
  for (const char* const name : {"chimera", "bitpipe", "bitpipe-split", "dualpipe"}) {
    SCOPED_TRACE(name);
    expect_plain_bits(replicated({name, 4, 8, true}, 1), 2);
    expect_plain_bits(replicated({name, 4, 8, true}, 1), 4);
  }
  expect_plain_bits(replicated({"chimera", 2, 4, true}, 2), 4);
}

TEST(ReplicasTest, CopiesMayShareTheStateOfTheOptimizerOut) {
  PipelineOptions options = parity_options();
  options.shards_optimizer = true;
  for (const OptimizerKind kind : {OptimizerKind::AdamW, OptimizerKind::Sgd}) {
    options.stage.optimizer.kind = kind;
    expect_plain_bits(replicated({"1f1b", 2, 2, true}, 3), 3, options);
    expect_plain_bits(replicated({"chimera", 2, 4, true}, 2), 4, options);
  }
  const auto state_bytes = [](const PipelineOptions& some) {
    const auto pipeline = make_pipeline(replicated({"1f1b", 2, 2, true}, 2), some);
    std::int64_t sum = 0;
    for (const LocalStage& local : pipeline->local_stages()) {
      sum += local.stage->state_bytes().optimizer;
    }
    return sum;
  };
  options.stage.optimizer.kind = parity_options().stage.optimizer.kind;
  EXPECT_EQ(2 * state_bytes(options), state_bytes(parity_options()));
}

TEST(ReplicasTest, AShardOfTheOptimizerIsWholeForACheckpoint) {
  const Schedule schedule = replicated({"1f1b", 2, 2, true}, 2);
  PipelineOptions sharded = parity_options();
  sharded.shards_optimizer = true;
  const auto one = make_pipeline(schedule, parity_options());
  const auto other = make_pipeline(schedule, sharded);
  for (Pipeline* const pipeline : {one.get(), other.get()}) {
    pipeline->train_step(make_batches({.num_micro_batches = 4}, 1),
                         {.number = 1, .learning_rate = kLearningRate});
  }
  const auto is_second = [](int /*stage*/, int replica) { return replica == 1; };
  std::vector<GatheredStage> gathered = other->gather_update_state(is_second);
  ASSERT_EQ(gathered.size(), 2U);
  for (int number = 0; number < 2; ++number) {
    std::vector<ShardedBuffer> expected = one->stage(number).update_state();
    std::vector<ShardedBuffer>& found = gathered[static_cast<std::size_t>(number)].state;
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].name(), expected[i].name());
      EXPECT_TRUE(found[i].is_sharded());
      EXPECT_FALSE(expected[i].is_sharded());
      EXPECT_TRUE(found[i].whole().equal(expected[i].whole())) << found[i].name();
    }
  }
}

TEST(ReplicasTest, AListWithoutReductionsReducesAtItsEnd) {
  Schedule schedule = replicated({"1f1b", 2, 2, true}, 2);
  for (auto& list : schedule.ranks) {
    std::erase_if(list,
                  [](const Action& action) { return action.kind == ActionKind::ReduceGradient; });
  }
  expect_plain_bits(schedule, 2);
}

TEST(ReplicasTest, UpdatesInListsHaveTheBitsOfThoseAfterThem) {
  PipelineOptions options = parity_options();
  options.update.clip_norm = 0.0;
  for (const bool shards_optimizer : {false, true}) {
    options.shards_optimizer = shards_optimizer;
    expect_plain_bits(add_updates(replicated({"1f1b", 2, 2, true}, 3)), 3, options);
    expect_plain_bits(add_updates(replicated({"zb-h1", 4, 4, true}, 2)), 2, options);
    expect_plain_bits(add_updates(replicated({"chimera", 4, 4, true}, 1)), 2, options);
    expect_plain_bits(add_updates(replicated({"bitpipe", 4, 4, true}, 2)), 4, options);
  }
}

// The sum of stage 0 can end only after the update of stage 1 on rank 0, whose sum rank 1 begins
// last.
TEST(ReplicasTest, SumsThatRanksBeginInOtherOrdersDoNotWaitForEachOther) {
  PipelineOptions options = parity_options();
  options.update.clip_norm = 0.0;
  expect_plain_bits(
      testing::parse("# halfback schedule micro_batches=2 placement=0,0|1,1 replicas=0,1\n"
                     "0F0,1F0,1B0,0B0,1REDUCE_GRAD,1U,0REDUCE_GRAD,0U\n"
                     "0F1,1F1,1B1,0B1,0REDUCE_GRAD,1REDUCE_GRAD,1U,0U\n"),
      2, options);
}

TEST(ReplicasTest, ReductionsHaveSpans) {
  const Schedule schedule = replicated({"1f1b", 2, 2, true}, 2);
  const auto pipeline = make_pipeline(schedule);
  const StepResult result =
      pipeline->accumulate_gradients(make_batches({.num_micro_batches = 4}, 1));
  int count = 0;
  for (const Span& span : result.timeline.spans) {
    if (span.action.kind == ActionKind::ReduceGradient) {
      ++count;
      EXPECT_EQ(schedule.placement.rank_of(span.action), span.rank);
      EXPECT_LE(span.start_seconds, span.end_seconds);
    }
  }
  EXPECT_EQ(count, 4);
}

TEST(ReplicasTest, EvaluationsEqualThoseOfOneCopy) {
  const auto batches = make_batches({.num_micro_batches = 5}, 3);
  const Evaluation expected = make_pipeline({.num_ranks = 1})->evaluate(batches);
  EXPECT_EQ(make_pipeline(replicated({"1f1b", 2, 2, true}, 2))->evaluate(batches), expected);
  EXPECT_EQ(make_pipeline(replicated({"chimera", 2, 4, true}, 1))->evaluate(batches), expected);
}

TEST(ReplicasTest, OneCopyHasNoStateToShareOut) {
  PipelineOptions options = parity_options();
  options.shards_optimizer = true;
  EXPECT_TRUE(
      contains(text_of_thrown<ConfigError>([&] { make_pipeline({.num_ranks = 2}, options); }),
               "there is one replica of the weights"));
}

TEST(ReplicasTest, GroupsThatCannotBeAreRefused) {
  const auto refusal = [](const Schedule& schedule, int groups) {
    PipelineOptions options = parity_options();
    options.gradient_groups = groups;
    return text_of_thrown<ConfigError>([&] { make_pipeline(schedule, options); });
  };
  EXPECT_EQ(
      refusal(replicated({"1f1b", 2, 4, true}, 2), 3),
      "--gradient-groups is 3 with 2 replicas of the weights; expected 2 times a power of two");
  EXPECT_EQ(
      refusal(replicated({"1f1b", 2, 8, true}, 1), 6),
      "--gradient-groups is 6 with 1 replicas of the weights; expected 1 times a power of two");
  EXPECT_EQ(refusal(replicated({"1f1b", 2, 6, true}, 1), 4),
            "--gradient-groups is 4: 6 micro-batches of a replica are not 4 equal "
            "groups");
}

}  // namespace
}  // namespace halfback::testing
