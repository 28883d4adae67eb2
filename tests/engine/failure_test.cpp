// Failures end in bounded time, name rank, action and cause, and come from the first rank that
// failed.
#include "halfback/base/error.h"
#include "halfback/models/cut.h"
#include "halfback/models/local_heads.h"
#include "halfback/schedule/csv.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"
#include "tests/support/errors.h"
#include "tests/support/small_model.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <chrono>

namespace halfback::testing {
namespace {

std::unique_ptr<Pipeline> pipeline_of(const std::string& csv,
                                      double timeout_seconds,
                                      PipelineOptions options = parity_options()) {
  options.timeout_seconds = timeout_seconds;
  const Schedule schedule = parse_schedule(csv, "test.csv");
  auto pipeline =
      std::make_unique<Pipeline>(build_llama(small_llama(), equal_cut(4, schedule.num_stages())),
                                 make_runnable(schedule, {.verifies = false}), options);
  pipeline->initialize(1);
  return pipeline;
}

std::string error_of(Pipeline& pipeline, const std::vector<MicroBatch>& batches) {
  try {
    pipeline.train_step(batches, {.number = 1, .learning_rate = 1e-3});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Rank 1 waits for a gradient that only it could cause.
constexpr const char* kDeadlock =
    "0F0,0SEND_F0,0RECV_B0,0B0\n"
    "1RECV_F0,1F0,1RECV_F1,1B0,1SEND_B0\n";

TEST(FailureTest, ADeadlockEndsAtTheDeadlineAndNamesEveryRanksAction) {
  const auto start = std::chrono::steady_clock::now();
  const auto pipeline = pipeline_of(kDeadlock, 0.3);
  const std::string error =
      error_of(*pipeline, make_batches({.num_micro_batches = pipeline->num_micro_batches()}));
  EXPECT_NE(error.find("waited 0.3 s for"), std::string::npos) << error;
  EXPECT_NE(error.find("rank 0 is at position 2, 0RECV_B0"), std::string::npos) << error;
  EXPECT_NE(error.find("rank 1 is at position 2, 1RECV_F1"), std::string::npos) << error;
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(FailureTest, AFailingActionStopsAllRanksAndIsNamed) {
  const auto pipeline =
      make_pipeline({.schedule = "gpipe", .num_ranks = 3, .num_micro_batches = 3});
  std::vector<MicroBatch> batches = make_batches({.num_micro_batches = 3});
  batches[1].inputs = {at::full({2, 7}, 1000, at::kLong)};  // beyond the vocabulary
  const std::string error = error_of(*pipeline, batches);
  EXPECT_EQ(error.find("rank 0, position 2, 0F1: "), 0U) << error;
}

TEST(FailureTest, AMessageOfAnotherOrderIsRefusedByTheTransport) {
  const auto pipeline = pipeline_of(
      "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0B1\n"
      "1RECV_F1,1RECV_F0,1F0,1B0,1SEND_B0,1F1,1B1,1SEND_B1\n",
      5.0);
  const std::string error = error_of(*pipeline, make_batches({.num_micro_batches = 2}));
  EXPECT_NE(error.find("rank 1 expects 0SEND_F1 from rank 0, but 0SEND_F0 comes first"),
            std::string::npos)
      << error;
}

TEST(FailureTest, AnActionWithoutItsInputIsNamed) {
  const auto pipeline = pipeline_of(
      "0F0,0SEND_F0,0RECV_B0,0B0\n"
      "1F0,1RECV_F0,1B0,1SEND_B0\n",
      5.0);
  const std::string error = error_of(*pipeline, make_batches({.num_micro_batches = 1}));
  EXPECT_EQ(error.find("rank 1, position 0, 1F0: "), 0U) << error;
  EXPECT_NE(error.find("finds no activation"), std::string::npos) << error;
}

// Rank 0 sends all activations before it takes a gradient; rank 1 answers each one at once.
constexpr const char* kEagerSender =
    "0F0,0SEND_F0,0F1,0SEND_F1,0F2,0SEND_F2,0F3,0SEND_F3,"
    "0RECV_B0,0B0,0RECV_B1,0B1,0RECV_B2,0B2,0RECV_B3,0B3\n"
    "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1,"
    "1RECV_F2,1F2,1B2,1SEND_B2,1RECV_F3,1F3,1B3,1SEND_B3\n";

TEST(FailureTest, FullChannelsThatBlockEachOtherEndAtTheDeadline) {
  PipelineOptions options = parity_options();
  options.timeout_seconds = 0.3;
  const Schedule schedule = parse_schedule(kEagerSender, "test.csv");
  const auto run = [&](int capacity) {
    Pipeline pipeline(build_llama(small_llama(), equal_cut(4, 2)),
                      make_runnable(schedule, {.channel_capacity = capacity, .verifies = false}),
                      options);
    pipeline.initialize(1);
    return error_of(pipeline, make_batches({}));
  };
  const std::string error = run(1);
  EXPECT_NE(error.find("waited 0.3 s for room in the channel from rank"), std::string::npos)
      << error;
  EXPECT_NE(error.find("rank 0 is at position 7, 0SEND_F3"), std::string::npos) << error;
  EXPECT_NE(error.find("rank 1 is at position 7, 1SEND_B1"), std::string::npos) << error;
  EXPECT_EQ(smallest_channel_capacity(schedule), 2);
  EXPECT_EQ(run(2), "no error");
}

TEST(FailureTest, WhatNobodyVerifiedIsRefusedWhereItBreaks) {
  constexpr const char* kLast = "\n1RECV_F0,1F0,1B0,1SEND_B0\n";
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"0F0,0SEND_F0,0W0,0RECV_B0,0I0", "rank 0, position 2, 0W0: micro-batch 0 has run F"},
      {"0F0,0SEND_F0,0F0,0RECV_B0,0B0", "rank 0, position 2, 0F0: micro-batch 0 has run F"},
      {"0F0,0SEND_F0,0RECV_B0,0B0,0F0,0B0", "rank 0, position 4, 0F0: micro-batch 0 has run all"},
      {"0F0,0SEND_F0,0RECV_B0,0I0",
       "rank 0, end of the step: the list ends and stage 0 is not through"},
      {"0F0,0SEND_F0,0SEND_F0,0RECV_B0,0B0",
       "rank 0, position 2, 0SEND_F0: finds no activation; nothing before it on this rank has"},
      {"0F0,0SEND_F0,0RECV_B0,0B0,0RECV_F0", "rank 0, position 4, 0RECV_F0: there is no stage -1"},
      {"# halfback schedule placement=0,1\n0F0,0SEND_F0,0RECV_B0,0B0,1F0",
       "rank 0, position 4, 1F0: stage 1 is not on this rank; verify"},
  };
  for (const auto& [csv, expected] : cases) {
    const auto pipeline = pipeline_of(csv + kLast, 5.0);
    const std::string error = error_of(*pipeline, make_batches({.num_micro_batches = 1}));
    EXPECT_EQ(error.find(expected), 0U) << error;
  }
}

TEST(FailureTest, UpdatesThatNobodyVerifiedAreRefusedWhereTheyBreak) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"0RECV_B0,0U,0B0\n1RECV_F0,1F0,1B0,1SEND_B0,1U\n",
       "rank 0, position 3, 0U of step 1: stage 0 has no weight gradient of micro-batch 0 yet; an "
       "update needs all"},
      {"0RECV_B0,0B0,0U,0U\n1RECV_F0,1F0,1B0,1SEND_B0,1U\n",
       "rank 0, position 5, 0U of step 1: stage 0 is already updated; a step updates a stage once"},
      {"0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0,1U\n",
       "rank 0, end of step 1: the list ends and stage 0 is not updated; all stages "
       "that train have U, or none has"},
  };
  PipelineOptions options = parity_options();
  options.update.clip_norm = 0.0;
  for (const auto& [csv, expected] : cases) {
    const auto pipeline = pipeline_of("0F0,0SEND_F0," + csv, 5.0, options);
    EXPECT_EQ(error_of(*pipeline, make_batches({.num_micro_batches = 1})), expected);
  }
  const auto last = pipeline_of(
      "# halfback schedule placement=0,1 losses=1:1\n0F0,0SEND_F0,0U\n1RECV_F0,1F0,1B0,1U\n", 5.0,
      options);
  EXPECT_EQ(error_of(*last, make_batches({.num_micro_batches = 1})),
            "rank 0, position 2, 0U of step 1: no loss trains stage 0; it has nothing to update");
}

// Two W of one micro-batch would be refused at the second; a missing one shows at the end only.
TEST(FailureTest, AMissingWeightGradientIsFoundAtTheEndOfTheStep) {
  const auto pipeline = pipeline_of(
      "0F0,0SEND_F0,0F1,0SEND_F1,0RECV_B0,0B0,0RECV_B1,0I1\n"
      "1RECV_F0,1F0,1B0,1SEND_B0,1RECV_F1,1F1,1B1,1SEND_B1\n",
      5.0);
  EXPECT_EQ(error_of(*pipeline, make_batches({.num_micro_batches = 2})),
            "rank 0, end of the step: the list ends and stage 0 is not through with micro-batch 1; "
            "it must run F and either B or I and W");
}

TEST(FailureTest, AMicroBatchThatNoListNamesIsMissed) {
  const auto pipeline = pipeline_of(
      "# halfback schedule micro_batches=2 placement=0,1\n"
      "0F0,0SEND_F0,0RECV_B0,0B0\n1RECV_F0,1F0,1B0,1SEND_B0\n",
      5.0);
  const std::string error = error_of(*pipeline, make_batches({.num_micro_batches = 2}));
  EXPECT_NE(error.find("is not through with micro-batch 1"), std::string::npos) << error;
}

// What a schedule is refused for before its first step, or "no error".
std::string refusal_of(const std::string& csv, const UpdateOptions& update = {}) {
  try {
    PipelineOptions options = parity_options();
    options.update = update;
    pipeline_of(csv, 5.0, options);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(FailureTest, UpdatesInListsAreRefusedWhereTheyNeedTheNormOfTheModel) {
  const std::string csv = "0F0,0SEND_F0,0RECV_B0,0B0,0U\n1RECV_F0,1F0,1B0,1SEND_B0,1U\n";
  EXPECT_EQ(refusal_of(csv), "no error");
  EXPECT_EQ(refusal_of(csv, {.clip_norm = 1.0, .clip_scope = ClipScope::Stage}), "no error");
  EXPECT_EQ(refusal_of(csv, {.clip_norm = 1.0}),
            "schedule: its lists update stages (U) before the gradient norm of the whole model is "
            "known, which --clip needs; use --clip 0 or --clip-scope stage, or leave the updates "
            "out by --stage-updates off");
  const std::string scaled = refusal_of(csv, {.loss_scale = {.is_dynamic = true}});
  EXPECT_TRUE(contains(scaled, "which --loss-scale dynamic needs; use a fixed --loss-scale"))
      << scaled;
}

TEST(FailureTest, StagesThatShareAParameterAreNotUpdatedOneByOne) {
  LlamaConfig tied = small_llama();
  tied.has_tied_head = true;
  const auto refusal = [&](const Schedule& schedule, const UpdateOptions& update) {
    PipelineOptions options = parity_options();
    options.update = update;
    return text_of_thrown<ConfigError>(
        [&] { Pipeline(build_llama(tied, equal_cut(4, 2)), make_runnable(schedule), options); });
  };
  const Schedule schedule = build_schedule("1f1b", {.num_ranks = 2, .num_micro_batches = 2});
  EXPECT_EQ(refusal(add_updates(schedule), {}),
            "model: stages 0 and 1 share a parameter, and a schedule with U treats each stage on "
            "its own; use a schedule without U, or a model without tied parameters");
  EXPECT_EQ(refusal(schedule, {.clip_norm = 1.0, .clip_scope = ClipScope::Stage}),
            "model: stages 0 and 1 share a parameter, and --clip-scope stage treats each stage on "
            "its own; use --clip-scope model, or a model without tied parameters");
}

TEST(FailureTest, AStopFromOutsideIsNamed) {
  const auto pipeline = make_pipeline({.num_ranks = 2, .num_micro_batches = 2});
  pipeline->stop();
  EXPECT_EQ(error_of(*pipeline, make_batches({.num_micro_batches = 2})),
            "the run was stopped from outside");
}

TEST(FailureTest, ACopyWithoutItsOriginalIsRefused) {
  LlamaConfig tied = small_llama();
  tied.has_tied_head = true;
  std::vector<StageLayers> stages = build_llama(tied, equal_cut(4, 2));
  stages.erase(stages.begin());
  const Schedule schedule = parse_schedule("0F0,0B0\n", "test.csv");
  EXPECT_TRUE(
      contains(text_of_thrown<ConfigError>(
                   [&] { Pipeline(std::move(stages), make_runnable(schedule), parity_options()); }),
               " on stage 0 is a copy of a parameter that no earlier layer has in that shape"));
}

TEST(FailureTest, EachLossNeedsAHeadAndEachHeadALoss) {
  const auto error_of_heads = [](const std::string& losses, const std::vector<int>& heads) {
    return text_of_thrown<ConfigError>([&] {
      std::vector<StageLayers> stages = build_llama(small_llama(), equal_cut(4, 2));
      add_local_heads(small_llama(), {.stages_with_loss = heads}, stages);
      const Schedule schedule = parse_schedule("# halfback schedule losses=" + losses + "\n0F0" +
                                                   (heads.empty() ? ",0B0" : "") + "\n1F0,1B0\n",
                                               "test.csv");
      Pipeline(std::move(stages), make_runnable(schedule), parity_options());
    });
  };
  EXPECT_EQ(error_of_heads("0:0,1:1", {}),
            "model: stage 0 has no head for its loss; the schedule has losses on 0, 1; expected a "
            "head on each of them, and on no other stage");
  EXPECT_TRUE(contains(error_of_heads("1:1", {0}),
                       "model: stage 0 has a head and the schedule no loss there"));
}

}  // namespace
}  // namespace halfback::testing
