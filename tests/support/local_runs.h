// Small models that train by losses on any stage, and what tests do with them.
#pragma once

#include "halfback/data/micro_batch.h"
#include "halfback/engine/pipeline_options.h"
#include "halfback/layers/stage_layers.h"
#include "halfback/models/local_heads.h"
#include "halfback/schedule/builders.h"
#include "tests/support/models.h"
#include "tests/support/threads.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace halfback::testing {

constexpr double kLearningRate = 1e-2;
constexpr std::int64_t kNumSamples = 3;

// Returns one of small_models().
NamedModel model(const std::string& name);

// Returns its stages, with a head where the schedule has a loss.
std::vector<StageLayers> build(const NamedModel& model,
                               const Schedule& schedule,
                               LocalHead head,
                               at::ScalarType dtype = at::kFloat,
                               LocalLoss loss = LocalLoss::Pred);

// Returns the micro-batches of a step.
std::vector<MicroBatch> batches(const NamedModel& model,
                                int count,
                                std::int64_t step,
                                std::int64_t num_samples = kNumSamples);

// Returns a schedule of 4 micro-batches.
Schedule family(const std::string& name, int num_ranks, const PipelineShape& shape = {});

// Returns options with a limit for the norm of each stage.
PipelineOptions local_options(OptimizerKind kind = OptimizerKind::AdamW);

bool same_values(const at::Tensor& found, const at::Tensor& expected);

// ATen's convolutions choose by the number of threads among algorithms with other roundings.
class OneThreadTest : public ::testing::Test {
  const Threads one_{1};
};

}  // namespace halfback::testing
