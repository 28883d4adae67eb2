// Whose gradients pass a stage, by the obvious walk over a table of losses.
#pragma once

#include "halfback/schedule/losses.h"

#include <vector>

namespace halfback::testing {

// Returns the stages whose losses have a gradient that passes this stage, in ascending order: the
// last is the furthest. Backprop over `num_stages` has only the last stage.
inline std::vector<int> losses_through(const Losses& losses, int num_stages, int stage) {
  if (losses.is_backprop()) {
    return {num_stages - 1};
  }
  std::vector<int> through;
  for (const LossReach& loss : losses.reaches()) {
    if (loss.stage >= stage && loss.lowest <= stage) {
      through.push_back(loss.stage);
    }
  }
  return through;
}

}  // namespace halfback::testing
