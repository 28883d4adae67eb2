// What the loss is multiplied by before backward and gradients are divided by after it, so that
// products in float16 neither lose small gradients nor overflow. Powers of two: float32 gradients
// have the bits of a run without.
//
// A dynamic one seeks the largest that works: a step whose gradients are not finite is skipped and
// halves it, 2000 good steps in a row double it.
// Source: Micikevicius et al., "Mixed Precision Training", arXiv:1710.03740, section 3.2.
#pragma once

#include <cstdint>

namespace halfback {

struct LossScaleOptions {
  double initial = 1.0;
  bool is_dynamic = false;
};

// What a run needs to resume as if never interrupted.
struct LossScaleState {
  double value = 1.0;
  std::int64_t good_steps = 0;     // in a row, since the last change
  std::int64_t skipped_steps = 0;  // of the whole run

  bool operator==(const LossScaleState&) const = default;
};

class LossScale {
 public:
  explicit LossScale(const LossScaleOptions& options);

  const LossScaleState& state() const { return state_; }
  double value() const { return state_.value; }
  bool is_dynamic() const { return is_dynamic_; }

  // Goes on with a state; one that is not dynamic keeps its value.
  void restore(const LossScaleState& state);

  // Whether a step with this gradient norm, or its square, leaves the parameters as they are. A
  // scale of 1 that still overflows is none to blame: then nothing is skipped.
  bool skips(double gradient_norm) const;

  // Returns how many updates there have been, this one included.
  std::int64_t update_number(std::int64_t step) const { return step - state_.skipped_steps; }

  void finish_step(bool was_skipped);

 private:
  bool is_dynamic_;
  LossScaleState state_;
};

}  // namespace halfback
