#include "halfback/engine/loss_scale.h"

#include <algorithm>
#include <cmath>

namespace halfback {

namespace {

constexpr std::int64_t kStepsToDouble = 2000;
constexpr double kLargest = 16777216.0;  // 2^24: gradients that are all zero must not overflow it

}  // namespace

LossScale::LossScale(const LossScaleOptions& options)
    : is_dynamic_(options.is_dynamic), state_{.value = options.initial} {}

void LossScale::restore(const LossScaleState& state) {
  const double value = is_dynamic_ ? state.value : state_.value;
  state_ = state;
  state_.value = value;
}

bool LossScale::skips(double gradient_norm) const {
  return is_dynamic_ && state_.value > 1.0 && !std::isfinite(gradient_norm);
}

void LossScale::finish_step(bool was_skipped) {
  if (!is_dynamic_) {
    return;
  }
  if (was_skipped) {
    state_.value = std::max(1.0, state_.value / 2.0);
    state_.good_steps = 0;
    ++state_.skipped_steps;
  } else if (++state_.good_steps == kStepsToDouble) {
    state_.value = std::min(kLargest, state_.value * 2.0);
    state_.good_steps = 0;
  }
}

}  // namespace halfback
