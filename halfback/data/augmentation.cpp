#include "halfback/data/augmentation.h"

#include "halfback/base/error.h"
#include "halfback/base/keyed_random.h"
#include "halfback/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <string_view>
#include <utility>
#include <vector>

namespace halfback {

namespace {

constexpr double kWhite = 255.0;
constexpr double kLeastArea = 0.08;
constexpr double kLargestRatio = 4.0 / 3.0;
constexpr double kJittered = 0.8;  // fraction of the views
constexpr double kJitter = 0.4;

using Named = std::pair<std::string_view, bool Augmentation::*>;
constexpr std::array<Named, 3> kParts = {{{"crop", &Augmentation::crops},
                                          {"flip", &Augmentation::flips},
                                          {"jitter", &Augmentation::jitters}}};

// The numbers that a view draws. Each has its own key, so one part changes no other.
enum class Draw : std::uint64_t { Area, Ratio, Top, Left, Flip, Jitter, Brightness, Contrast };

double draw(std::uint64_t view, Draw what, double begin, double end) {
  const std::uint64_t hash =
      keyed_hash(Purpose::ImageViewNumber, {view, static_cast<std::uint64_t>(what)});
  return begin + (end - begin) * to_unit_interval(hash);
}

// The part of an image that a view shows, in pixels.
struct Crop {
  double top = 0.0;
  double left = 0.0;
  double height = 0.0;
  double width = 0.0;
};

Crop draw_crop(std::uint64_t view, const Crop& whole) {
  const double area = draw(view, Draw::Area, kLeastArea, 1.0) * whole.height * whole.width;
  const double ratio = std::pow(kLargestRatio, draw(view, Draw::Ratio, -1.0, 1.0));
  const double height = std::min(whole.height, std::sqrt(area / ratio));
  const double width = std::min(whole.width, std::sqrt(area * ratio));
  return {.top = draw(view, Draw::Top, 0.0, whole.height - height),
          .left = draw(view, Draw::Left, 0.0, whole.width - width),
          .height = height,
          .width = width};
}

// Two neighbors and the weight of the second.
struct Between {
  std::int64_t first = 0;
  std::int64_t second = 0;
  double weight = 0.0;
};

std::vector<Between> places(double begin, double length, std::int64_t size) {
  std::vector<Between> all;
  for (std::int64_t i = 0; i < size; ++i) {
    const double center = (static_cast<double>(i) + 0.5) / static_cast<double>(size);
    const double place =
        std::clamp(begin + center * length - 0.5, 0.0, static_cast<double>(size - 1));
    const auto first = static_cast<std::int64_t>(place);
    all.push_back({.first = first,
                   .second = std::min(first + 1, size - 1),
                   .weight = place - static_cast<double>(first)});
  }
  return all;
}

void resample(const Crop& crop, bool is_mirrored, const GrayImage& image, float* view) {
  const std::vector<Between> rows = places(crop.top, crop.height, image.height);
  std::vector<Between> columns = places(crop.left, crop.width, image.width);
  if (is_mirrored) {
    std::reverse(columns.begin(), columns.end());
  }
  for (const Between& row : rows) {
    const auto level = [&](std::int64_t column) {
      const auto at = [&](std::int64_t y) {
        return static_cast<unsigned char>(image.pixels[y * image.width + column]) / kWhite;
      };
      return std::lerp(at(row.first), at(row.second), row.weight);
    };
    for (const Between& column : columns) {
      *view++ =
          static_cast<float>(std::lerp(level(column.first), level(column.second), column.weight));
    }
  }
}

void jitter(std::uint64_t key, float* view, std::int64_t size) {
  const auto change = [&](Draw what, double center) {
    const double factor = draw(key, what, 1.0 - kJitter, 1.0 + kJitter);
    std::transform(view, view + size, view, [&](float level) {
      return static_cast<float>(std::clamp(center + (level - center) * factor, 0.0, 1.0));
    });
  };
  change(Draw::Brightness, 0.0);
  change(Draw::Contrast, std::accumulate(view, view + size, 0.0) / static_cast<double>(size));
}

}  // namespace

std::string to_string(const Augmentation& augmentation) {
  std::string text;
  for (const auto& [name, is_on] : kParts) {
    if (augmentation.*is_on) {
      text += fmt::format("{}{}", text.empty() ? "" : ",", name);
    }
  }
  return text.empty() ? "none" : text;
}

Augmentation parse_augmentation(const std::string& text) {
  Augmentation parsed;
  if (text == "none") {
    return parsed;
  }
  for (const std::string_view name : split(text, ',')) {
    const auto found = std::ranges::find(kParts, name, &Named::first);
    if (found == kParts.end()) {
      throw ConfigError(fmt::format(
          "--augment: '{}' is not known{}; expected none, or some of crop,flip,jitter",
          name.substr(0, 40), suggestion(name.substr(0, 40), {"crop", "flip", "jitter"})));
    }
    parsed.*found->second = true;
  }
  return parsed;
}

void augment(const Augmentation& augmentation,
             std::uint64_t key,
             const GrayImage& image,
             float* view) {
  const Crop whole{.height = static_cast<double>(image.height),
                   .width = static_cast<double>(image.width)};
  const bool is_mirrored = augmentation.flips && draw(key, Draw::Flip, 0.0, 1.0) < 0.5;
  resample(augmentation.crops ? draw_crop(key, whole) : whole, is_mirrored, image, view);
  if (augmentation.jitters && draw(key, Draw::Jitter, 0.0, 1.0) < kJittered) {
    jitter(key, view, image.height * image.width);
  }
}

}  // namespace halfback
