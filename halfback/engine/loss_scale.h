// The factor that multiplies the loss before backward and divides the gradients after it, so that
// float16 products neither lose small gradients nor overflow. It is a power of two, so float32
// gradients have the same bits as without it.
//
// A dynamic scale seeks the largest value that works. A step with non-finite gradients is skipped
// and halves it; 2000 good steps in a row double it.
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

  // Continues from a state; a static scale keeps its own value.
  void restore(const LossScaleState& state);

  // Whether to skip a step with this gradient norm, or its square. A static scale skips
  // nothing. Nor does a dynamic one of 1, which did not cause the overflow.
  bool skips(double gradient_norm) const;

  // Returns the number of updates so far, including this one.
  std::int64_t update_number(std::int64_t step) const { return step - state_.skipped_steps; }

  void finish_step(bool was_skipped);

 private:
  bool is_dynamic_;
  LossScaleState state_;
};

}  // namespace halfback
