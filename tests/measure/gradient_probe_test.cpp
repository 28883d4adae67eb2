// Cosines of what losses inside a model train by with backprop's gradients.
#include "halfback/measure/gradient_probe.h"

#include "halfback/measure/synthetic.h"
#include "halfback/models/cut.h"
#include "halfback/schedule/families.h"

#include <gtest/gtest.h>

#include <cmath>

namespace halfback {
namespace {

class GradientProbeTest : public ::testing::TestWithParam<const char*> {
 protected:
  static TrainingConfig config_of(const std::string& family, const PipelineShape& shape = {}) {
    TrainingConfig config;
    config.model = MlpConfig{.num_layers = 5, .num_inputs = 20, .width = 24, .num_classes = 5};
    if (std::string(GetParam()) == "resnet") {
      config.model =
          ResnetConfig{.width = 4, .num_classes = 5, .image_height = 8, .image_width = 8};
    }
    PipelineShape whole = shape;
    whole.num_ranks = 4;
    whole.num_micro_batches = 3;
    config.schedule = make_runnable(build_schedule(family, whole));
    config.pipeline.update.clip_norm = 0.0;
    return config;
  }

  // Trains some steps, and returns the cosines before them and after.
  static std::vector<std::vector<double>> cosines_of(const TrainingConfig& config, int num_steps) {
    const std::vector<int> cut =
        parse_cut(config.cut, {.num_blocks = num_blocks(config.model), .num_stages = 4});
    Pipeline pipeline(build_model(config.model, cut, build_options(config)), config.schedule,
                      config.pipeline);
    pipeline.initialize(1);
    Pipeline untouched(build_model(config.model, cut, build_options(config)), config.schedule,
                       config.pipeline);
    untouched.initialize(1);
    GradientProbe probe(config);
    const auto batches = synthetic_micro_batches(config.model, {.count = 3, .num_samples = 8}, 7);
    std::vector<std::vector<double>> found = {probe.cosines(pipeline, batches)};
    for (int step = 1; step <= num_steps; ++step) {
      pipeline.train_step(batches, {.number = step, .learning_rate = 1e-2});
      untouched.train_step(batches, {.number = step, .learning_rate = 1e-2});
    }
    for (int stage = 0; stage < 4; ++stage) {
      ParameterStore& one = pipeline.stage(stage).store();
      ParameterStore& other = untouched.stage(stage).store();
      EXPECT_TRUE(one.values().equal(other.values())) << "the probe changes no value";
      EXPECT_TRUE(one.statistics().equal(other.statistics())) << "nor a running statistic";
    }
    found.push_back(probe.cosines(pipeline, batches));
    return found;
  }
};

TEST_P(GradientProbeTest, BackpropHasItsOwnGradients) {
  for (const std::vector<double>& cosines : cosines_of(config_of("1f1b"), 3)) {
    for (const double cosine : cosines) {
      EXPECT_NEAR(cosine, 1.0, 1e-12);
    }
  }
}

// The last stage sees what backprop sees; so does the last chunk.
TEST_P(GradientProbeTest, TheLastBlockHasTheGradientOfBackprop) {
  for (const std::vector<double>& cosines : cosines_of(config_of("local-greedy"), 3)) {
    EXPECT_NEAR(cosines[3], 1.0, 1e-12);
    for (const int stage : {0, 1, 2}) {
      EXPECT_LT(std::abs(cosines[static_cast<std::size_t>(stage)]), 0.999) << stage;
    }
  }
  for (const std::vector<double>& cosines :
       cosines_of(config_of("local-chunked", {.chunks = 2}), 3)) {
    EXPECT_NEAR(cosines[3], 1.0, 1e-12);
    EXPECT_NEAR(cosines[2], 1.0, 1e-12);
    EXPECT_LT(cosines[1], 0.999);
  }
}

// Its norms read running statistics, so what is above sees other activations than under backprop.
TEST_P(GradientProbeTest, WhatNoLossTrainsHasNoCosine) {
  const auto cosines = cosines_of(config_of("local-last", {.trained = 2}), 1);
  EXPECT_TRUE(std::isnan(cosines[0][0]));
  if (std::string(GetParam()) == "mlp") {
    EXPECT_NEAR(cosines[0][2], 1.0, 1e-12);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GradientProbeTest, ::testing::Values("mlp", "resnet"));

}  // namespace
}  // namespace halfback
