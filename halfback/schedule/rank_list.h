// Writes the action list of one rank that holds one stage. Each call takes the next micro-batch
// of its kind, so that a family reads as its phases.
#pragma once

#include "halfback/schedule/builders.h"

#include <functional>
#include <string>
#include <vector>

namespace halfback {

class RankList {
 public:
  RankList(int stage, bool two_stage);

  void forward();
  // Adds I, or B when the backward is not split.
  void backward();
  // Adds the W of the oldest micro-batch pending; nothing when none is.
  void weight();
  // Adds all W pending.
  void flush();
  // Returns how many micro-batches have their I but not their W.
  int num_pending() const { return two_stage_ ? next_backward_ - next_weight_ : 0; }
  // Returns the list; leaves this one empty.
  std::vector<Action> take() { return std::move(actions_); }

 private:
  int stage_;
  bool two_stage_;
  int next_forward_ = 0;
  int next_backward_ = 0;
  int next_weight_ = 0;
  std::vector<Action> actions_;
};

// Returns a schedule of one stage a rank, with write(rank, list) called once for each rank. Throws
// ConfigError for a shape that no family admits: below 1, or more than 2^28 actions.
Schedule build_ranks(const std::string& name,
                     const PipelineShape& shape,
                     const std::function<void(int, RankList&)>& write);

}  // namespace halfback
