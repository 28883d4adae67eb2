// How many micro-batches a rank holds, by the order of its list alone.
#pragma once

#include "halfback/schedule/schedule.h"

#include <vector>

namespace halfback {

// The most that one rank holds at a time: stages times micro-batches, each counted whole.
struct HeldPeaks {
  int until_input = 0;   // from F until I or B is done, or W where it carries a gradient
  int until_weight = 0;  // from F until W or B is done: what W needs of F
  int gradients = 0;     // from I until W: the gradients that a split backward keeps

  bool operator==(const HeldPeaks&) const = default;
};

// Returns the peaks by rank. Linear in the number of actions.
std::vector<HeldPeaks> held_peaks(const Schedule& schedule);

// Returns by rank the most that F has kept and nothing has freed, in M_B: what one micro-batch
// keeps on 1/N of the model, where N ranks hold a copy. A stage of S counts N/S. I frees
// `released_at_input` of it (0 to 1), W or B the rest. Linear in the number of actions.
std::vector<double> activation_peaks(const Schedule& schedule, double released_at_input = 0.0);

}  // namespace halfback
