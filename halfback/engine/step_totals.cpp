#include "halfback/engine/step_totals.h"

#include <algorithm>

namespace halfback {

StepTotals::StepTotals(const Placement& placement, const ModelLayout& layout) {
  for (int stage = 0; stage < placement.num_stages(); ++stage) {
    num_parameters_.push_back(layout.num_parameters(stage));
    for (const int rank : placement.ranks_of(stage)) {
      const auto index = static_cast<std::size_t>(rank);
      num_norms_.resize(std::max(num_norms_.size(), index + 1));
      if (rank == placement.rank_of(stage)) {
        norms_begin_.push_back(num_norms_[index]);
      }
      num_norms_[index] += num_parameters_.back();
    }
  }
}

std::vector<double> StepTotals::of_rank(const RankStages& runner, bool is_training) {
  std::vector<double> own;
  if (is_training) {
    for (const auto& [stage, squares] : runner.squared_norms()) {
      own.insert(own.end(), squares.begin(), squares.end());
    }
  }
  own.insert(own.end(), runner.losses().begin(), runner.losses().end());
  return own;
}

StepTotals::Sums StepTotals::add_up(const std::vector<std::vector<double>>& all,
                                    const StepContext& context) const {
  const Placement& placement = context.schedule->placement;
  Sums sums;
  for (std::size_t stage = 0; stage < num_parameters_.size() && context.is_training; ++stage) {
    const auto owner = static_cast<std::size_t>(placement.rank_of(static_cast<int>(stage)));
    const double* norms = &all[owner][norms_begin_[stage]];
    for (std::size_t i = 0; i < num_parameters_[stage]; ++i) {
      sums.squared_norm += norms[i];
    }
  }
  const std::size_t count = context.micro_batches.size();
  for (std::size_t i = 0; i < (context.is_training ? count : 2 * count); ++i) {
    const int replica = placement.replica_of(static_cast<int>(i % count));
    const auto owner =
        static_cast<std::size_t>(placement.rank_of(placement.num_stages() - 1, replica));
    const double value = all[owner][(context.is_training ? num_norms_[owner] : 0) + i];
    (i < count ? sums.loss : sums.num_correct) += value;
  }
  return sums;
}

}  // namespace halfback
