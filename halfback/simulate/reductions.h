// When the gradients of stages are summed over replicas. Internal to the simulator.
//
// Reductions block no rank before an update of their stage, so their times follow from when the
// lists reach them. Each begins once all replicas of its stage have reached it. A rank takes part
// in one at a time, in the order in which they could begin (by stage if several could begin at
// once).
#pragma once

#include "halfback/schedule/placement.h"
#include "halfback/simulate/moment.h"

#include <algorithm>
#include <set>
#include <utility>
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

  Reductions(const Placement& placement, int num_ranks)
      : replicas_(static_cast<std::size_t>(placement.num_stages())),
        num_replicas_(static_cast<std::size_t>(placement.num_replicas())),
        free_(static_cast<std::size_t>(num_ranks)) {}

  void add(const Replica& replica) {
    std::vector<Replica>& replicas = replicas_[static_cast<std::size_t>(replica.action.stage)];
    replicas.push_back(replica);
    if (replicas.size() == num_replicas_) {
      const auto last =
          std::ranges::max_element(replicas, {}, [](const Replica& one) { return one.there.time; });
      ready_.emplace(last->there.time, replica.action.stage);
    }
  }

  bool is_empty() const { return ready_.empty(); }

  // Runs the first of those that all their replicas have reached, and returns its stage. Calls
  // on_done(replica, start, end) for each replica; length_of(action) is the time that it needs.
  // Those that the lists have not reached yet must not be able to begin before it.
  template <typename Length, typename OnDone>
  int run_first(Length length_of, OnDone on_done) {
    const int stage = ready_.extract(ready_.begin()).value().second;
    std::vector<Replica> replicas = std::exchange(replicas_[static_cast<std::size_t>(stage)], {});
    std::ranges::sort(replicas, {}, &Replica::rank);
    Time start;
    double length = 0.0;
    for (Replica& replica : replicas) {
      wait_for(free_[static_cast<std::size_t>(replica.rank)], replica.there);
      wait_for(replica.there, start);
      length = std::max(length, length_of(replica.action));
    }
    for (const Replica& replica : replicas) {
      const double end = start.time + length;
      free_[static_cast<std::size_t>(replica.rank)] = {end, replica.number};
      on_done(replica, replica.there.time == start.time ? replica.there : start, end);
    }
    return stage;
  }

 private:
  std::vector<std::vector<Replica>> replicas_;  // by stage: those that have reached it
  std::size_t num_replicas_;
  std::set<std::pair<double, int>> ready_;  // when a stage is reached by all, and the stage
  std::vector<Time> free_;                  // by rank: after its last one
};

}  // namespace halfback::detail
