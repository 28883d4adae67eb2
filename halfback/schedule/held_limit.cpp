#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/fault.h"

#include <fmt/format.h>

namespace halfback::detail {

void check_held(const Schedule& schedule, const std::string& where, double limit) {
  const double share = static_cast<double>(ranks_per_copy(schedule.placement)) /
                       static_cast<double>(schedule.num_stages());
  constexpr double kRounding = 1e-9;
  for (int rank = 0; rank < schedule.num_ranks(); ++rank) {
    int held = 0;
    Position position{rank, 0};
    for (const Action& action : schedule.ranks[static_cast<std::size_t>(rank)]) {
      held += kept_by(schedule.cuts, action).until_weight;
      if (held * share > limit + kRounding) {
        throw_fault(schedule, where, position,
                    fmt::format("{} makes the rank hold the activations of {} micro-batches of a "
                                "stage, {:g} M_B; the limit is {:g} M_B",
                                to_string(action), held, held * share, limit));
      }
      ++position.index;
    }
  }
}

}  // namespace halfback::detail
