// The learning rate of a step: linear warm-up, then half a cosine or a line down to a floor.
// Source of the cosine: Loshchilov and Hutter, "SGDR", arXiv:1608.03983 (one period, no restarts).
#pragma once

#include <cstdint>
#include <string>

namespace halfback {

enum class Decay { Cosine, Linear };

// Returns "cosine" or "linear".
std::string to_string(Decay decay);

struct LearningRate {
  double peak = 1e-3;
  double floor_fraction = 0.1;  // of the peak, at the end of the decay
  std::int64_t warmup_steps = 0;
  Decay decay = Decay::Cosine;
  std::int64_t decay_steps = 0;  // from the warm-up to the floor; 0: to the last step

  // Returns the rate of a step, counted from 1, in a run of `num_steps`.
  double at(std::int64_t step, std::int64_t num_steps) const;
};

}  // namespace halfback
