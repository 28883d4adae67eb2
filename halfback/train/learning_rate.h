// The learning rate of a step: linear warm-up, then half a cosine down to a floor.
// Source: Loshchilov and Hutter, "SGDR", arXiv:1608.03983 (one period, no restarts).
#pragma once

#include <cstdint>

namespace halfback {

struct LearningRate {
  double peak = 1e-3;
  double floor_fraction = 0.1;  // of the peak, at the last step
  std::int64_t warmup_steps = 0;

  // Returns the rate of a step, counted from 1, in a run of `num_steps`.
  double at(std::int64_t step, std::int64_t num_steps) const;
};

}  // namespace halfback
