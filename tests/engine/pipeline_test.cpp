// What a step reports, and the order in which things leave a stage.
#include "halfback/engine/pipeline.h"

#include "halfback/models/cut.h"
#include "halfback/schedule/csv.h"
#include "tests/support/small_model.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace halfback::testing {
namespace {

std::vector<Action> actions_of(const Timeline& timeline, int rank) {
  std::vector<Action> actions;
  for (const Span& span : timeline.spans) {
    if (span.rank == rank && span.action.kind != ActionKind::Update) {
      actions.push_back(span.action);
    }
  }
  return actions;
}

TEST(PipelineTest, WhatRanIsWhatTheScheduleSays) {
  for (const WeightGradients how : {WeightGradients::Looped, WeightGradients::Concatenated}) {
    PipelineOptions options = parity_options();
    options.stage.weight_gradients = how;
    const auto pipeline = make_pipeline({.schedule = "1f1b-2", .num_ranks = 2}, options);
    const StepResult result =
        pipeline->train_step(make_batches({}), {.number = 1, .learning_rate = 1e-3});
    for (int rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(actions_of(result.timeline, rank),
                pipeline->schedule().ranks[static_cast<std::size_t>(rank)]);
    }
  }
}

TEST(PipelineTest, SpansOfARankDoNotOverlapAndUpdatesComeLast) {
  const auto pipeline = make_pipeline({.num_ranks = 2});
  const StepResult result =
      pipeline->train_step(make_batches({}), {.number = 1, .learning_rate = 1e-3});
  for (int rank = 0; rank < 2; ++rank) {
    double end = 0.0;
    ActionKind last = ActionKind::Forward;
    for (const Span& span : result.timeline.spans) {
      if (span.rank == rank) {
        EXPECT_GE(span.start_seconds, end);
        EXPECT_GE(span.end_seconds, span.start_seconds);
        end = span.end_seconds;
        last = span.action.kind;
      }
    }
    EXPECT_EQ(last, ActionKind::Update);
  }
}

TEST(PipelineTest, GradientsLeaveAStageBeforeItsWeightGradients) {
  const auto pipeline = make_pipeline({.schedule = "1f1b-1", .num_ranks = 4});
  for (const auto& list : pipeline->schedule().ranks) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (list[i].kind == ActionKind::BackwardInput && list[i].stage > 0) {
        ASSERT_LT(i + 1, list.size());
        EXPECT_EQ(list[i + 1].kind, ActionKind::SendBackward);
      }
    }
  }
}

TEST(PipelineTest, SeveralStagesOfARankHandOverWithoutMessages) {
  const Schedule wave = parse_schedule(
      "# halfback schedule name=wave micro_batches=2 placement=0,1,1,0\n"
      "0F0,0F1,3F0,3I0,3F1,3I1,0I0,3W0,0I1,3W1,0W0,0W1\n"
      "1F0,2F0,1F1,2F1,2I0,1I0,2I1,1I1,2W0,1W0,2W1,1W1\n",
      "wave.csv");
  Pipeline pipeline(build_llama(small_llama(), equal_cut(4, 4)), wave, parity_options());
  pipeline.initialize(42);
  const auto plain = make_pipeline({.num_ranks = 1, .num_micro_batches = 2});
  const auto batches = make_batches({.num_micro_batches = 2});
  const StepResult found = pipeline.accumulate_gradients(batches);
  EXPECT_EQ(found.loss, plain->accumulate_gradients(batches).loss);
  EXPECT_TRUE(bytes_of(pipeline, Buffer::Gradients) == bytes_of(*plain, Buffer::Gradients));
}

TEST(PipelineTest, WeightGradientsOutOfOrderStillAgreeWithinRounding) {
  const Schedule shuffled = parse_schedule("0F0,0F1,0F2,0I0,0I1,0I2,0W2,0W0,0W1\n", "shuffled.csv");
  Pipeline pipeline(build_llama(small_llama(), equal_cut(4, 1)), shuffled, parity_options());
  pipeline.initialize(42);
  const auto plain = make_pipeline({.num_ranks = 1, .num_micro_batches = 3});
  const auto batches = make_batches({.num_micro_batches = 3});
  pipeline.accumulate_gradients(batches);
  plain->accumulate_gradients(batches);
  EXPECT_LT(relative_difference(numbers_of(pipeline, Buffer::Gradients),
                                numbers_of(*plain, Buffer::Gradients)),
            1e-6);
}

TEST(PipelineTest, ShapesMayChangeFromStepToStep) {
  const auto pipeline = make_pipeline({.num_ranks = 2});
  const auto other = make_pipeline({.num_ranks = 1});
  for (const std::int64_t sequence : {7, 3, 1, 5}) {
    const auto batches = make_batches({.sequence = sequence}, sequence);
    EXPECT_EQ(pipeline->accumulate_gradients(batches).loss,
              other->accumulate_gradients(batches).loss);
  }
}

TEST(PipelineTest, InitialValuesDoNotDependOnTheCut) {
  const std::string expected = bytes_of(*make_pipeline({.num_ranks = 1}), Buffer::Values);
  for (int ranks = 2; ranks <= 4; ++ranks) {
    EXPECT_TRUE(bytes_of(*make_pipeline({.num_ranks = ranks}), Buffer::Values) == expected);
  }
}

TEST(PipelineTest, TrainingLowersTheLoss) {
  const auto pipeline = make_pipeline({.num_ranks = 2});
  const auto batches = make_batches({});
  const double first = pipeline->train_step(batches, {.number = 1, .learning_rate = 1e-2}).loss;
  double last = first;
  for (int step = 2; step <= 30; ++step) {
    last = pipeline->train_step(batches, {.number = step, .learning_rate = 1e-2}).loss;
  }
  EXPECT_LT(last, 0.8 * first);
}

}  // namespace
}  // namespace halfback::testing
