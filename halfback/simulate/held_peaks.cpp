#include "halfback/simulate/held_peaks.h"

#include "halfback/simulate/cost_model.h"

#include <algorithm>

namespace halfback {

namespace {

// Calls visit(held) after each action of a rank that changes what is held. An F without a backward
// keeps nothing. Where W carries a gradient through the layers, it frees what I does elsewhere.
template <typename Visit>
void walk(const Schedule& schedule, std::size_t rank, Visit visit) {
  HeldPeaks held;
  for (const Action& action : schedule.ranks[rank]) {
    if (!schedule.cuts.has_backward(action.stage)) {
      continue;
    }
    switch (action.kind) {
      case ActionKind::Forward:
        ++held.until_input;
        ++held.until_weight;
        break;
      case ActionKind::Backward:
        --held.until_input;
        --held.until_weight;
        break;
      case ActionKind::BackwardInput:
        held.until_input -= schedule.cuts.weight_takes(action.stage) ? 0 : 1;
        ++held.gradients;
        break;
      case ActionKind::BackwardWeight:
        held.until_input -= schedule.cuts.weight_takes(action.stage) ? 1 : 0;
        --held.until_weight;
        --held.gradients;
        break;
      default:
        continue;
    }
    visit(held);
  }
}

}  // namespace

std::vector<HeldPeaks> held_peaks(const Schedule& schedule) {
  std::vector<HeldPeaks> peaks(schedule.ranks.size());
  for (std::size_t rank = 0; rank < peaks.size(); ++rank) {
    HeldPeaks& peak = peaks[rank];
    walk(schedule, rank, [&peak](const HeldPeaks& held) {
      peak.until_input = std::max(peak.until_input, held.until_input);
      peak.until_weight = std::max(peak.until_weight, held.until_weight);
      peak.gradients = std::max(peak.gradients, held.gradients);
    });
  }
  return peaks;
}

std::vector<double> activation_peaks(const Schedule& schedule, double released_at_input) {
  const double num_ranks = ranks_per_copy(schedule.placement);
  const double num_stages = schedule.num_stages();
  std::vector<double> peaks(schedule.ranks.size(), 0.0);
  for (std::size_t rank = 0; rank < peaks.size(); ++rank) {
    walk(schedule, rank, [&](const HeldPeaks& held) {
      const double kept =
          released_at_input * held.until_input + (1.0 - released_at_input) * held.until_weight;
      peaks[rank] = std::max(peaks[rank], kept * num_ranks / num_stages);
    });
  }
  return peaks;
}

}  // namespace halfback
