#include "halfback/train/learning_rate.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace halfback {

std::string to_string(Decay decay) { return decay == Decay::Cosine ? "cosine" : "linear"; }

double LearningRate::at(std::int64_t step, std::int64_t num_steps) const {
  if (step <= warmup_steps) {
    return peak * static_cast<double>(step) / static_cast<double>(warmup_steps);
  }
  const std::int64_t length = decay_steps > 0 ? decay_steps : num_steps - warmup_steps;
  const double progress = std::min(1.0, static_cast<double>(step - warmup_steps) /
                                            static_cast<double>(std::max<std::int64_t>(1, length)));
  const double above_floor =
      decay == Decay::Linear ? 1.0 - progress : 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return peak * (floor_fraction + (1.0 - floor_fraction) * above_floor);
}

}  // namespace halfback
