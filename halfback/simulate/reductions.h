// When the gradients of stages are summed over replicas. Internal to the simulator.
//
// Reductions do not block their ranks, so their times follow from when the lists reach them. Each
// begins once all replicas of its stage have reached it. A rank takes part in one at a time, in the
// order in which they could begin (by stage if several could begin at once).
#pragma once

#include "halfback/schedule/action.h"
#include "halfback/simulate/moment.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace halfback::detail {

template <bool Traces>
class Reductions {
 public:
  using Time = Moment<Traces>;

  // A replica of a stage whose list has reached its REDUCE_GRAD.
  struct Replica {
    Action action;
    int rank = 0;
    ActionNumber number = 0;
    Time there;
  };

  explicit Reductions(int num_stages) : replicas_(static_cast<std::size_t>(num_stages)) {}

  void add(Replica replica) {
    replicas_[static_cast<std::size_t>(replica.action.stage)].push_back(replica);
  }

  // Calls on_done(replica, start, end) for each replica; length_of(action) is the time that it
  // needs. Call it once all lists have ended.
  template <typename Length, typename OnDone>
  void run(int num_ranks, Length length_of, OnDone on_done) {
    std::vector<Time> free(static_cast<std::size_t>(num_ranks));  // by rank: after its last one
    for (const int stage : stages_as_ready()) {
      std::vector<Replica>& replicas = replicas_[static_cast<std::size_t>(stage)];
      std::sort(replicas.begin(), replicas.end(),
                [](const Replica& a, const Replica& b) { return a.rank < b.rank; });
      Time start;
      double length = 0.0;
      for (Replica& replica : replicas) {
        wait_for(free[static_cast<std::size_t>(replica.rank)], replica.there);
        wait_for(replica.there, start);
        length = std::max(length, length_of(replica.action));
      }
      for (const Replica& replica : replicas) {
        const double end = start.time + length;
        free[static_cast<std::size_t>(replica.rank)] = {end, replica.number};
        on_done(replica, replica.there.time == start.time ? replica.there : start, end);
      }
    }
  }

 private:
  std::vector<int> stages_as_ready() const {
    std::vector<double> ready;
    for (const std::vector<Replica>& replicas : replicas_) {
      double last = 0.0;
      for (const Replica& replica : replicas) {
        last = std::max(last, replica.there.time);
      }
      ready.push_back(last);
    }
    std::vector<int> stages(replicas_.size());
    std::iota(stages.begin(), stages.end(), 0);
    std::stable_sort(stages.begin(), stages.end(), [&](int a, int b) {
      return ready[static_cast<std::size_t>(a)] < ready[static_cast<std::size_t>(b)];
    });
    return stages;
  }

  std::vector<std::vector<Replica>> replicas_;  // by stage
};

}  // namespace halfback::detail
