#include "halfback/data/augmentation.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace halfback {
namespace {

constexpr std::int64_t kHeight = 6;
constexpr std::int64_t kWidth = 8;
constexpr int kNumViews = 400;

// Levels that rise from left to right and from top to bottom.
std::string ramp() {
  std::string pixels;
  for (std::int64_t y = 0; y < kHeight; ++y) {
    for (std::int64_t x = 0; x < kWidth; ++x) {
      pixels += static_cast<char>(10 + 20 * x + 10 * y);
    }
  }
  return pixels;
}

std::vector<float> view(const Augmentation& augmentation, std::uint64_t key) {
  const std::string pixels = ramp();
  std::vector<float> levels(pixels.size());
  augment(augmentation, key, {pixels.data(), kHeight, kWidth}, levels.data());
  return levels;
}

std::vector<float> mirrored(std::vector<float> levels) {
  for (auto row = levels.begin(); row != levels.end(); row += kWidth) {
    std::reverse(row, row + kWidth);
  }
  return levels;
}

double mean(const std::vector<float>& levels) {
  double sum = 0.0;
  for (const float level : levels) {
    sum += level;
  }
  return sum / static_cast<double>(levels.size());
}

double range(const std::vector<float>& levels) {
  const auto [least, most] = std::minmax_element(levels.begin(), levels.end());
  return *most - *least;
}

TEST(AugmentationTest, WithoutAnyAViewIsTheImage) {
  const std::string pixels = ramp();
  const std::vector<float> levels = view({}, 1);
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    EXPECT_EQ(levels[i], static_cast<float>(static_cast<unsigned char>(pixels[i]) / 255.0));
  }
}

TEST(AugmentationTest, DependsOnTheKeyAlone) {
  const Augmentation all{.crops = true, .flips = true, .jitters = true};
  std::set<std::vector<float>> views;
  for (std::uint64_t key = 0; key < kNumViews; ++key) {
    EXPECT_EQ(view(all, key), view(all, key));
    views.insert(view(all, key));
  }
  EXPECT_EQ(views.size(), static_cast<std::size_t>(kNumViews));
}

TEST(AugmentationTest, MirrorsHalfOfTheViews) {
  const std::vector<float> image = view({}, 0);
  int num_mirrored = 0;
  for (std::uint64_t key = 0; key < kNumViews; ++key) {
    const std::vector<float> found = view({.flips = true}, key);
    EXPECT_TRUE(found == image || found == mirrored(image));
    num_mirrored += found == image ? 0 : 1;
  }
  EXPECT_NEAR(num_mirrored, kNumViews / 2, 50);
}

// A part of a ramp is a flatter ramp between its ends: still rising, and of any size.
TEST(AugmentationTest, CropsPartsAndStretchesThem) {
  const std::vector<float> image = view({}, 0);
  double smallest = 1.0;
  double largest = 0.0;
  for (std::uint64_t key = 0; key < kNumViews; ++key) {
    const std::vector<float> found = view({.crops = true}, key);
    for (std::size_t i = 1; i < found.size(); ++i) {
      EXPECT_TRUE(i % kWidth == 0 || found[i] >= found[i - 1]);
      EXPECT_TRUE(i < kWidth || found[i] >= found[i - kWidth]);
    }
    EXPECT_GE(found.front(), image.front());
    EXPECT_LE(found.back(), image.back());
    smallest = std::min(smallest, range(found) / range(image));
    largest = std::max(largest, range(found) / range(image));
  }
  EXPECT_LT(smallest, 0.4) << "8 % of the area";
  EXPECT_GT(largest, 0.9);
}

TEST(AugmentationTest, ChangesBrightnessAndContrastOfMostViews) {
  const std::vector<float> image = view({}, 0);
  int num_alike = 0;
  double darkest = 1.0;
  double brightest = 0.0;
  for (std::uint64_t key = 0; key < kNumViews; ++key) {
    const std::vector<float> found = view({.jitters = true}, key);
    num_alike += found == image ? 1 : 0;
    EXPECT_GE(*std::min_element(found.begin(), found.end()), 0.0F);
    EXPECT_LE(*std::max_element(found.begin(), found.end()), 1.0F);
    darkest = std::min(darkest, mean(found) / mean(image));
    brightest = std::max(brightest, mean(found) / mean(image));
  }
  EXPECT_NEAR(num_alike, kNumViews / 5, 40);
  EXPECT_NEAR(darkest, 0.6, 0.03);
  EXPECT_NEAR(brightest, 1.4, 0.05);
}

TEST(AugmentationTest, APartChangesNoOther) {
  for (std::uint64_t key = 0; key < 20; ++key) {
    const std::vector<float> cropped = view({.crops = true}, key);
    const std::vector<float> both = view({.crops = true, .flips = true}, key);
    EXPECT_TRUE(both == cropped || both == mirrored(cropped));
  }
}

TEST(AugmentationTest, ReadsAndWritesItsNames) {
  for (const char* text : {"none", "crop", "flip", "jitter", "crop,jitter", "crop,flip,jitter"}) {
    EXPECT_EQ(to_string(parse_augmentation(text)), text);
  }
  EXPECT_EQ(to_string(parse_augmentation("jitter,crop")), "crop,jitter");
  const auto refusal = [](const std::string& text) {
    return text_of_thrown<ConfigError>([&] { parse_augmentation(text); });
  };
  EXPECT_EQ(refusal("crop,flop"),
            "--augment: 'flop' is not known (did you mean flip?); expected none, or some of "
            "crop,flip,jitter");
  EXPECT_TRUE(contains(refusal("crop,"), "--augment: '' is not known"));
}

}  // namespace
}  // namespace halfback
