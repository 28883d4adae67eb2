// What a step reports, and the order in which things leave a stage.
#include "halfback/engine/pipeline.h"

#include "halfback/models/cut.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "tests/support/small_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

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

// In what ran: right behind every I its gradient leaves. The W of the micro-batch has not run by
// then; in naive and GPipe no W of the stage has.
TEST(PipelineTest, GradientsLeaveAStageBeforeItsWeightGradients) {
  constexpr int kNumRanks = 4;
  const std::pair<const char*, bool> families[] = {
      {"naive", true},         {"gpipe", true},
      {"1f1b-1", false},       {"1f1b-2", false},
      {"1f1b-2-flush", false}, {"1f1b-2-capped", false},
      {"zb-h1", false},        {"interleaved-1f1b", false}};
  for (const auto& [name, weights_come_last] : families) {
    SCOPED_TRACE(name);
    const int micro_batches = family(name).default_micro_batches(kNumRanks);
    const auto pipeline = make_pipeline({name, kNumRanks, micro_batches, true});
    const StepResult result =
        pipeline->accumulate_gradients(make_batches({.num_micro_batches = micro_batches}));
    int num_left = 0;
    for (int rank = 0; rank < kNumRanks; ++rank) {
      const std::vector<Action> ran = actions_of(result.timeline, rank);
      std::vector<Action> weights;
      for (std::size_t i = 0; i < ran.size(); ++i) {
        const Action& action = ran[i];
        if (action.kind == ActionKind::BackwardWeight) {
          weights.push_back(ran[i]);
        } else if (action.kind == ActionKind::BackwardInput && action.stage > 0) {
          ASSERT_LT(i + 1, ran.size());
          EXPECT_EQ(ran[i + 1], action.as(ActionKind::SendBackward));
          EXPECT_EQ(
              std::count(weights.begin(), weights.end(), action.as(ActionKind::BackwardWeight)), 0);
          EXPECT_TRUE(weights.empty() || !weights_come_last);
          ++num_left;
        }
      }
    }
    EXPECT_EQ(num_left, (pipeline->num_stages() - 1) * micro_batches);
  }
}

TEST(PipelineTest, SeveralStagesOfARankHandOverWithoutMessages) {
  const Schedule wave = parse_schedule(
      "# halfback schedule name=wave micro_batches=2 placement=0,1,1,0\n"
      "0F0,0F1,3F0,3I0,3F1,3I1,0I0,3W0,0I1,3W1,0W0,0W1\n"
      "1F0,2F0,1F1,2F1,2I0,1I0,2I1,1I1,2W0,1W0,2W1,1W1\n",
      "wave.csv");
  Pipeline pipeline(build_llama(small_llama(), equal_cut(4, 4)), make_runnable(wave),
                    parity_options());
  pipeline.initialize(42);
  const auto plain = make_pipeline({.num_ranks = 1, .num_micro_batches = 2});
  const auto batches = make_batches({.num_micro_batches = 2});
  const StepResult found = pipeline.accumulate_gradients(batches);
  EXPECT_EQ(found.loss, plain->accumulate_gradients(batches).loss);
  EXPECT_TRUE(bytes_of(pipeline, Buffer::Gradients) == bytes_of(*plain, Buffer::Gradients));
}

TEST(PipelineTest, WeightGradientsOutOfOrderStillAgreeWithinRounding) {
  const Schedule shuffled = parse_schedule("0F0,0F1,0F2,0I0,0I1,0I2,0W2,0W0,0W1\n", "shuffled.csv");
  Pipeline pipeline(build_llama(small_llama(), equal_cut(4, 1)), make_runnable(shuffled),
                    parity_options());
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
