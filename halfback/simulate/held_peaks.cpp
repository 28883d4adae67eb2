#include "halfback/simulate/held_peaks.h"

#include "halfback/schedule/dataflow.h"

#include <algorithm>

namespace halfback {

namespace {

// Calls visit(held) after each compute action of a rank.
template <typename Visit>
void walk(const Schedule& schedule, std::size_t rank, Visit visit) {
  Kept held;
  for (const Action& action : schedule.ranks[rank]) {
    if (is_compute(action.kind)) {
      held += kept_by(schedule.losses, action);
      visit(held);
    }
  }
}

}  // namespace

std::vector<Kept> held_peaks(const Schedule& schedule) {
  std::vector<Kept> peaks(schedule.ranks.size());
  for (std::size_t rank = 0; rank < peaks.size(); ++rank) {
    Kept& peak = peaks[rank];
    walk(schedule, rank, [&peak](const Kept& held) {
      peak.until_input = std::max(peak.until_input, held.until_input);
      peak.until_weight = std::max(peak.until_weight, held.until_weight);
      peak.gradients = std::max(peak.gradients, held.gradients);
    });
  }
  return peaks;
}

std::vector<double> activation_peaks(const Schedule& schedule, double released_at_input) {
  const double num_ranks = ranks_per_replica(schedule.placement);
  const double num_stages = schedule.num_stages();
  std::vector<double> peaks(schedule.ranks.size(), 0.0);
  for (std::size_t rank = 0; rank < peaks.size(); ++rank) {
    walk(schedule, rank, [&](const Kept& held) {
      const double kept =
          released_at_input * held.until_input + (1.0 - released_at_input) * held.until_weight;
      peaks[rank] = std::max(peaks[rank], kept * num_ranks / num_stages);
    });
  }
  return peaks;
}

}  // namespace halfback
