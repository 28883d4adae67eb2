#include "halfback/train/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace halfback {

double LearningRate::at(std::int64_t step, std::int64_t num_steps) const {
  if (step <= warmup_steps) {
    return peak * static_cast<double>(step) / static_cast<double>(warmup_steps);
  }
  const auto length = static_cast<double>(std::max<std::int64_t>(1, num_steps - warmup_steps));
  const double progress = std::min(1.0, static_cast<double>(step - warmup_steps) / length);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return peak * (floor_fraction + (1.0 - floor_fraction) * cosine);
}

}  // namespace halfback
