// Losses and gradient norm of a step, with the same bits on every rank: each rank reports what its
// stages have, and all add that up in model order, whatever the placement.
#pragma once

#include "halfback/engine/model_layout.h"
#include "halfback/engine/rank_stages.h"
#include "halfback/schedule/schedule.h"

#include <cstddef>
#include <vector>

namespace halfback {

class StepTotals {
 public:
  // For the schedule of training; the placement of an evaluation may be another one.
  StepTotals(const Schedule& schedule, const ModelLayout& layout);

  // Returns the squared norms of a rank's finished gradients, stage by stage.
  static std::vector<double> norms_of_rank(const RankStages& runner);
  // Returns what a rank reports about a step or an evaluation: these norms, if it is a step, then
  // the losses, stage by stage.
  static std::vector<double> of_rank(const RankStages& runner, bool is_training);

  // Returns the squared norm of the gradients of the whole model. `all` is what the ranks report,
  // or its norms alone, by rank.
  double squared_norm(const std::vector<std::vector<double>>& all) const;

  struct Sums {
    std::vector<double> losses;       // by loss, ascending by stage
    std::vector<double> num_correct;  // the same, of an evaluation
    double squared_norm = 0.0;
  };
  // `all` is what the ranks report, by rank.
  Sums add_up(const std::vector<std::vector<double>>& all, const StepContext& context) const;

 private:
  std::vector<int> first_rank_;              // by stage: that of its first replica
  std::vector<std::size_t> num_parameters_;  // by stage
  std::vector<std::size_t> norms_begin_;  // by stage, in what the rank of its first replica reports
  std::vector<std::size_t> num_norms_;    // by rank
  std::vector<int> stages_with_loss_;
  std::vector<std::vector<int>> loss_stages_;  // by rank: those of its stages, ascending
};

}  // namespace halfback
