#include "halfback/measure/first_layer.h"

#include "halfback/base/error.h"
#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"
#include "halfback/measure/similarity.h"
#include "halfback/schedule/families.h"
#include "halfback/train/training_data.h"
#include "tests/support/errors.h"
#include "tests/support/idx_files.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_training.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <numeric>

namespace halfback::testing {
namespace {

using Json = nlohmann::json;

class FirstLayerTest : public ::testing::Test {
 protected:
  FirstLayerTest() { write_idx_images(directory_ / "images", 8, 8); }

  TrainingConfig config() const {
    TrainingConfig made = tiny_training(directory_ / "images");
    made.schedule = make_runnable(build_schedule("1f1b", {.num_ranks = 2, .num_micro_batches = 4}));
    made.model = MlpConfig{.num_layers = 4, .num_inputs = 64, .width = 32, .num_classes = 8};
    return made;
  }

  // Saves the first layer of a run that has just begun.
  SafetensorsFile saved(const TrainingConfig& config) const {
    Training training(config);
    save_first_layer(training.config(), training.pipeline(), path());
    return SafetensorsFile(path());
  }

  std::filesystem::path path() const { return first_layer_path(directory_ / "study", 3); }

  // Leaves the files of a run with weights [8, 1, 5, 6] and activations [10, 4].
  void leave(int run, const Json& place, double phase, const char* status = "complete") {
    rows_.push_back({{"run", run}, {"place", place}, {"status", status}});
    const std::filesystem::path file = first_layer_path(directory_.path(), run);
    std::filesystem::create_directories(file.parent_path());
    save_safetensors(file, {{"weights", numbers({8, 1, 5, 6}, phase)},
                            {"activations", numbers({10, 4}, phase)}});
  }

  static Json place(const char* scheme, const char* seed, const char* width = "64") {
    return Json::array({Json::array({"scheme", scheme}), Json::array({"width", width}),
                        Json::array({"seed", seed})});
  }

  static at::Tensor numbers(at::IntArrayRef shape, double phase) {
    at::Tensor all = at::zeros(shape, at::kFloat);
    auto* const data = all.mutable_data_ptr<float>();
    for (std::int64_t i = 0; i < all.numel(); ++i) {
      data[i] = static_cast<float>(std::sin(phase + 1.7 * static_cast<double>(i * i % 1009)));
    }
    return all;
  }

  TemporaryDirectory directory_;
  std::vector<Json> rows_;
};

TEST_F(FirstLayerTest, KeepsWeightsAndWhatTheFirstBlockOfAnMlpGives) {
  const SafetensorsFile file = saved(config());
  const at::Tensor weights = file.expect("weights", {32, 1, 8, 8}, at::kFloat);
  const at::Tensor images = open_data(config())->validation_batch(0, 24).inputs.front();
  const at::Tensor expected = at::linear(images.flatten(1), weights.flatten(1)).relu();
  const at::Tensor found = file.expect("activations", {24, 32}, at::kFloat);
  EXPECT_TRUE(found.allclose(expected, 1e-5, 1e-6)) << "biases begin as 0";
  EXPECT_GT(found.norm().item<float>(), 1.0F);
}

TEST_F(FirstLayerTest, DoesNotDependOnStagesOrViews) {
  const at::Tensor found = saved(config()).get("activations").clone();
  TrainingConfig other = config();
  other.schedule =
      make_runnable(build_schedule("local-greedy", {.num_ranks = 4, .num_micro_batches = 4}));
  other.pipeline.update.clip_norm = 0.0;
  EXPECT_TRUE(saved(other).get("activations").equal(found)) << "replaces the file";
  other.local_loss = LocalLoss::InfoNce;
  EXPECT_TRUE(saved(other).get("activations").equal(found));
  other.recompute = {.recomputed = Recompute::Forward::OfBlocks};
  EXPECT_TRUE(saved(other).get("activations").equal(found));
}

TEST_F(FirstLayerTest, OfAResnetTheFirstBlockIsResidual) {
  TrainingConfig resnet = config();
  resnet.model = ResnetConfig{.width = 4, .num_classes = 8, .image_height = 8, .image_width = 8};
  const SafetensorsFile file = saved(resnet);
  EXPECT_EQ(file.get("weights").sizes(), (std::vector<std::int64_t>{4, 1, 3, 3}));
  EXPECT_EQ(file.get("activations").sizes(), (std::vector<std::int64_t>{24, 4 * 8 * 8}));
}

TEST_F(FirstLayerTest, RefusesTexts) {
  TrainingConfig text = config();
  text.model = tiny_llama();
  EXPECT_EQ(text_of_thrown<ConfigError>([&] { require_first_layer(text); }),
            "[measure] first-layer is for models of images, and llama reads text; leave it out");
  require_first_layer(config());
}

TEST_F(FirstLayerTest, ComparesWithBackpropAtTheSamePlaceAndBackpropWithItsNextSeed) {
  leave(7, place("greedy", "2"), 0.7);
  leave(0, place("backprop", "1"), 0.1);
  leave(1, place("backprop", "2"), 0.2);
  leave(2, place("backprop", "3"), 0.3);
  leave(3, place("backprop", "1", "128"), 0.4);
  leave(4, place("greedy", "2", "128"), 0.5);
  const std::vector<Json> found = with_first_layers(rows_, directory_.path());
  const std::vector<std::optional<double>> others = {0.2, 0.3, {}, {}, {}, 0.2};
  const std::vector<double> own = {0.1, 0.2, 0.3, 0.4, 0.5, 0.7};
  ASSERT_EQ(found.size(), 6U);
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].contains("first_layer_cka"), others[i].has_value()) << found[i];
    if (!others[i]) {
      continue;
    }
    EXPECT_EQ(found[i].at("first_layer_cka"),
              linear_cka(numbers({10, 4}, own[i]), numbers({10, 4}, *others[i])));
    // 8 directions, the fewest of all sizes.
    const std::vector<double> angles =
        subspace_angles(numbers({8, 30}, own[i]).t(), numbers({8, 30}, *others[i]).t());
    EXPECT_NEAR(found[i].at("first_layer_largest_angle"), angles.front(), 1e-9);
    EXPECT_NEAR(found[i].at("first_layer_angle"),
                std::accumulate(angles.begin(), angles.end(), 0.0) / 8.0, 1e-9);
  }
}

TEST_F(FirstLayerTest, TakesTheFirstDirectionsOnly) {
  leave(0, place("backprop", "1"), 0.1);
  leave(1, place("greedy", "1"), 0.2);
  at::Tensor weights = at::zeros({40, 1, 5, 8});
  at::Tensor other = at::zeros({40, 1, 5, 8});
  for (std::int64_t i = 0; i < 40;
       ++i) {  // the large directions of one are the small ones of the other
    weights.view({40, 40})[i][i] = static_cast<double>(1 + i);
    other.view({40, 40})[i][i] = static_cast<double>(40 - i);
  }
  save_safetensors(first_layer_path(directory_.path(), 0),
                   {{"weights", weights}, {"activations", weights.flatten(1)}});
  save_safetensors(first_layer_path(directory_.path(), 1),
                   {{"weights", other}, {"activations", other.flatten(1)}});
  const Json row = with_first_layers(rows_, directory_.path())[1];
  // 25 of 40 each: 10 directions are in both.
  EXPECT_NEAR(row.at("first_layer_angle"), std::acos(0.0) * 15.0 / 25.0, 1e-12);
}

TEST_F(FirstLayerTest, WhatCannotBeComparedHasNoNumbers) {
  leave(0, place("backprop", "1"), 0.1);
  leave(1, place("greedy", "1"), 0.2, "infeasible");
  leave(2, place("two chunks", "1"), 0.3);
  std::filesystem::remove(first_layer_path(directory_.path(), 2));
  leave(3, place("others", "1"), 0.4);
  save_safetensors(first_layer_path(directory_.path(), 3), {{"weights", numbers({8, 1, 5, 7}, 0.1)},
                                                            {"activations", numbers({9, 4}, 0.1)}});
  for (const Json& row : with_first_layers(rows_, directory_.path())) {
    EXPECT_FALSE(row.contains("first_layer_cka")) << row;
    EXPECT_FALSE(row.contains("first_layer_angle")) << row;
    EXPECT_EQ(row.contains("filters"), row.at("run") == 0 || row.at("run") == 3) << row;
  }
  for (const int run : {0, 3}) {  // all directions of few inputs are everything
    save_safetensors(
        first_layer_path(directory_.path(), run),
        {{"weights", numbers({16, 1, 3, 3}, 0.1 * run)}, {"activations", numbers({9, 4}, 0.1)}});
  }
  const Json row = with_first_layers(rows_, directory_.path())[3];
  EXPECT_NEAR(row.at("first_layer_cka"), 1.0, 1e-14);
  EXPECT_FALSE(row.contains("first_layer_angle"));
}

TEST_F(FirstLayerTest, FiltersAreTheLargestRowsInBytes) {
  leave(0, place("backprop", "1"), 0.1);
  leave(1, place("backprop", "2"), 0.1);
  at::Tensor weights = at::zeros({3, 1, 1, 3});
  weights[1][0][0][0] = 0.5;
  weights[1][0][0][2] = -1.0;
  weights[2][0][0][1] = 4.0;
  save_safetensors(first_layer_path(directory_.path(), 0),
                   {{"weights", weights}, {"activations", weights.flatten(1)}});
  const std::vector<Json> found = with_first_layers(rows_, directory_.path());
  // 128 255 128, 192 128 1, 128 128 128
  EXPECT_EQ(found[0].at("filters"), (Json{{"width", 3}, {"height", 1}, {"data", "gP+AwIABgICA"}}));
  EXPECT_FALSE(found[1].contains("filters")) << "the first seed of each scheme has pictures";
}

}  // namespace
}  // namespace halfback::testing
