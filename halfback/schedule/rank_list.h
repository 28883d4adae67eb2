// Writes the action list of one rank. Each call takes the next micro-batch of its kind, so that the
// source of a family reads like its phases.
#pragma once

#include "halfback/schedule/builders.h"

#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace halfback {

// A stage on a rank and the micro-batches that pass it there: first, first + stride, ...
struct Chunk {
  int stage = 0;
  int first_micro_batch = 0;
  int stride = 1;
};

class RankList {
 public:
  RankList(std::vector<Chunk> chunks, bool two_stage);

  void forward(int chunk = 0);
  // Adds I, or B when the backward is not split.
  void backward(int chunk = 0);
  // Adds B.
  void whole_backward(int chunk = 0);
  // Adds any action; those of the other calls do not count it.
  void add(const Action& action) { actions_.push_back(action); }
  // Adds the W of the oldest I that lacks it, if any.
  void weight();
  // Adds all pending W.
  void flush();
  // Returns how many micro-batches have their I but not their W.
  int num_pending() const { return static_cast<int>(pending_.size()); }
  // Returns the actions, and leaves this list empty.
  std::vector<Action> take() { return std::move(actions_); }

 private:
  struct Next {
    int forward;
    int backward;
  };
  void add(ActionKind kind, int chunk, int& micro_batch);

  std::vector<Chunk> chunks_;
  std::vector<Next> next_;  // by chunk
  bool two_stage_;
  std::deque<Action> pending_;  // pending W, in the order of their I
  std::vector<Action> actions_;
};

// Throws ConfigError for a shape that every family refuses: below 1, or more than 2^28 actions.
void check_shape(const std::string& name, const PipelineShape& shape);

// Throws ConfigError for a shape whose backward is not split.
void require_two_stage(const std::string& name, const PipelineShape& shape);

// Returns a schedule over a placement, with write(rank, list) called once for each rank. The chunks
// of a rank are its stages in model order, from the first replica on. With two replicas, even
// micro-batches pass the first, because they enter alternately (see finish_replicas()).
Schedule build_ranks(const std::string& name,
                     const PipelineShape& shape,
                     const Placement& placement,
                     const std::function<void(int, RankList&)>& write);

// The same with one stage per rank.
Schedule build_ranks(const std::string& name,
                     const PipelineShape& shape,
                     const std::function<void(int, RankList&)>& write);

// Returns the placement and its mirror image, for such micro-batches.
Placement with_mirror(const Placement& placement, const PipelineShape& shape);

// Returns a schedule over such a placement in the form that families return: the first half of the
// micro-batches passes the first replica, and gradients are reduced.
Schedule finish_replicas(const Schedule& schedule);

}  // namespace halfback
