// Random views of gray images: a crop that is resized back, a mirror image, other brightness and
// contrast. A view depends only on its key and the image.
//
// As SimCLR has them for CIFAR-10 (Chen et al., ICML 2020, appendix B.9: distortion of strength
// 0.5, no blur), without what only colors have. A crop has 8 % to 100 % of the area and sides in a
// ratio of 3/4 to 4/3, and what does not fit is cut off; pixels between pixels are interpolated
// linearly. Half of the views are mirrored. In 80 % of them brightness changes by a factor of 0.6
// to 1.4, and then contrast, the distance from the mean, by another.
#pragma once

#include <cstdint>
#include <string>

namespace halfback {

struct Augmentation {
  bool crops = false;
  bool flips = false;
  bool jitters = false;

  bool is_any() const { return crops || flips || jitters; }
};

// Returns "crop,flip", or "none".
std::string to_string(const Augmentation& augmentation);

// Throws ConfigError for another name, with a suggestion.
Augmentation parse_augmentation(const std::string& text);

struct GrayImage {
  const char* pixels = nullptr;  // [height, width]
  std::int64_t height = 0;
  std::int64_t width = 0;
};

// Writes the view [height, width]; black is 0 and white 1.
void augment(const Augmentation& augmentation,
             std::uint64_t key,
             const GrayImage& image,
             float* view);

}  // namespace halfback
