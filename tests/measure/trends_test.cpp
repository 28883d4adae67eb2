// What local updates show in any size (docs/local_updates.md, trends 1 and 2), at a small one: an
// MLP of five layers, one on each rank, which memorizes drawn labels of noise.
#include "halfback/base/keyed_random.h"
#include "halfback/measure/study_run.h"
#include "halfback/schedule/families.h"
#include "tests/support/idx_files.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <numeric>

namespace halfback::testing {
namespace {

constexpr int kNumLayers = 5;
constexpr std::uint32_t kSize = 8;

class TrendsTest : public ::testing::Test {
 protected:
  TrendsTest() {
    for (const auto& [prefix, count] : {std::pair("train", 512U), std::pair("t10k", 10U)}) {
      std::string images = idx_header({count, kSize, kSize});
      std::string labels = idx_header({count});
      for (std::uint32_t i = 0; i < count; ++i) {
        labels += static_cast<char>(i % 10);
        for (std::uint32_t pixel = 0; pixel < kSize * kSize; ++pixel) {
          images += static_cast<char>(mixed_bits({i, pixel}) % 256);
        }
      }
      spit(directory_ / (std::string(prefix) + "-images-idx3-ubyte"), images);
      spit(directory_ / (std::string(prefix) + "-labels-idx1-ubyte"), labels);
    }
  }

  nlohmann::json run(const std::string& family, std::uint64_t seed) const {
    TrainingConfig config;
    config.data = directory_.path();
    config.has_random_labels = true;
    config.model = MlpConfig{
        .num_layers = kNumLayers, .num_inputs = kSize * kSize, .width = 32, .num_classes = 10};
    config.schedule =
        make_runnable(build_schedule(family, {.num_ranks = kNumLayers, .num_micro_batches = 2}));
    config.micro_batch_size = 32;
    config.num_steps = 300;
    config.learning_rate.peak = 3e-3;
    config.evaluate_every = 50;
    config.evaluate_samples = 512;
    config.pipeline.stage.seed = seed;
    config.pipeline.stage.optimizer.weight_decay = 0.0;
    return train_for_study(config, {}, {.cosines = true}).at("curve");
  }

  // The mean over the validations but the first.
  static std::vector<double> mean_cosines(const nlohmann::json& curve) {
    std::vector<double> mean(kNumLayers, 0.0);
    const nlohmann::json& all = curve.at("cosines");
    for (std::size_t i = 1; i < all.size(); ++i) {
      for (std::size_t layer = 0; layer < mean.size(); ++layer) {
        mean[layer] += all[i][layer].get<double>() / static_cast<double>(all.size() - 1);
      }
    }
    return mean;
  }

  TemporaryDirectory directory_;
};

// Trend 1: the cosine with backprop's gradient rises with depth, and is 1 at the last layer.
TEST_F(TrendsTest, GradientsAgreeMoreWithBackpropTheHigherTheLayer) {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const std::vector<double> overlapping = mean_cosines(run("local-overlapping", seed));
    for (std::size_t layer = 1; layer < overlapping.size(); ++layer) {
      EXPECT_GT(overlapping[layer], overlapping[layer - 1]) << layer << ", seed " << seed;
    }
    EXPECT_NEAR(overlapping.back(), 1.0, 1e-6);
    const std::vector<double> greedy = mean_cosines(run("local-greedy", seed));
    EXPECT_NEAR(greedy.back(), 1.0, 1e-6);
    EXPECT_LT(greedy.front(), 0.7);
    EXPECT_GT(greedy.front(), 0.1);
    EXPECT_GT(greedy[kNumLayers - 2], greedy.front());
  }
}

// Trend 2: backprop memorizes more than losses on each layer.
TEST_F(TrendsTest, BackpropFitsRandomLabelsFirst) {
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const auto accuracies = [&](const std::string& family) {
      return run(family, seed).at("validation_accuracy").get<std::vector<double>>();
    };
    const std::vector<double> backprop = accuracies("1f1b");
    const std::vector<double> greedy = accuracies("local-greedy");
    EXPECT_GT(backprop[3], greedy[3] + 0.2) << "step 200, seed " << seed;
    EXPECT_GT(backprop.back(), greedy.back()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace halfback::testing
