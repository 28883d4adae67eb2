#include "halfback/engine/step_totals.h"

#include <algorithm>

namespace halfback {

StepTotals::StepTotals(const Schedule& schedule, const ModelLayout& layout)
    : stages_with_loss_(stages_with_loss(schedule.losses, schedule.num_stages())) {
  const Placement& placement = schedule.placement;
  for (int stage = 0; stage < placement.num_stages(); ++stage) {
    first_rank_.push_back(placement.rank_of(stage));
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
  loss_stages_.resize(num_norms_.size());
  for (const int stage : stages_with_loss_) {
    for (const int rank : placement.ranks_of(stage)) {
      loss_stages_[static_cast<std::size_t>(rank)].push_back(stage);
    }
  }
}

std::vector<double> StepTotals::norms_of_rank(const RankStages& runner) {
  std::vector<double> own;
  for (const auto& [stage, squares] : runner.squared_norms()) {
    own.insert(own.end(), squares.begin(), squares.end());
  }
  return own;
}

std::vector<double> StepTotals::of_rank(const RankStages& runner, bool is_training) {
  std::vector<double> own = is_training ? norms_of_rank(runner) : std::vector<double>();
  for (const auto& [stage, losses] : runner.losses()) {
    own.insert(own.end(), losses.begin(), losses.end());
  }
  return own;
}

double StepTotals::squared_norm(const std::vector<std::vector<double>>& all) const {
  double sum = 0.0;
  for (std::size_t stage = 0; stage < num_parameters_.size(); ++stage) {
    const double* norms = &all[static_cast<std::size_t>(first_rank_[stage])][norms_begin_[stage]];
    for (std::size_t i = 0; i < num_parameters_[stage]; ++i) {
      sum += norms[i];
    }
  }
  return sum;
}

StepTotals::Sums StepTotals::add_up(const std::vector<std::vector<double>>& all,
                                    const StepContext& context) const {
  const Placement& placement = context.schedule->placement;
  Sums sums{.squared_norm = context.is_training ? squared_norm(all) : 0.0};
  const std::size_t count = context.micro_batches.size();
  const std::size_t num_values = context.is_training ? count : 2 * count;
  for (const int stage : stages_with_loss_) {
    double& loss = sums.losses.emplace_back();
    double& num_correct = sums.num_correct.emplace_back();
    for (std::size_t i = 0; i < num_values; ++i) {
      const int replica = placement.replica_of(static_cast<int>(i % count));
      const auto owner = static_cast<std::size_t>(placement.rank_of(stage, replica));
      const std::vector<int>& held = loss_stages_[owner];
      const auto place = static_cast<std::size_t>(std::ranges::find(held, stage) - held.begin());
      (i < count ? loss : num_correct) +=
          all[owner][(context.is_training ? num_norms_[owner] : 0) + place * num_values + i];
    }
  }
  return sums;
}

}  // namespace halfback
