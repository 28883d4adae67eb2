// Loss and gradient norm of a step, with the same bits on every rank: each rank reports what its
// stages have, and all add that up in model order, whatever the placement.
#pragma once

#include "halfback/engine/model_layout.h"
#include "halfback/engine/rank_stages.h"
#include "halfback/schedule/placement.h"

#include <cstddef>
#include <vector>

namespace halfback {

class StepTotals {
 public:
  // For the placement of training; an evaluation may have another one.
  StepTotals(const Placement& placement, const ModelLayout& layout);

  // Returns what a rank reports about a step or an evaluation: squared norms of its gradients,
  // stage by stage, then the losses.
  static std::vector<double> of_rank(const RankStages& runner, bool is_training);

  struct Sums {
    double loss = 0.0;
    double squared_norm = 0.0;
    double num_correct = 0.0;  // of an evaluation
  };
  // `all` is what the ranks report, by rank.
  Sums add_up(const std::vector<std::vector<double>>& all, const StepContext& context) const;

 private:
  std::vector<std::size_t> num_parameters_;  // by stage
  std::vector<std::size_t> norms_begin_;  // by stage, in what the rank of its first replica reports
  std::vector<std::size_t> num_norms_;    // by rank
};

}  // namespace halfback
