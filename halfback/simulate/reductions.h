// When the gradients of stages are summed over replicas. Internal to the simulator.
//
// Reductions block no rank before an update of their stage, so their times follow from when the
// lists reach them. Each begins once all replicas of its stage have reached it. A rank takes part
// in one at a time, in the order in which they could begin (by stage if several could begin at
// once).
#pragma once

#include "halfback/schedule/schedule.h"
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

  explicit Reductions(const Schedule& schedule)
      : placement_(schedule.placement),
        replicas_(static_cast<std::size_t>(schedule.num_stages())),
        free_(static_cast<std::size_t>(schedule.num_ranks())),
        end_(replicas_.size() * schedule.placement.replicas.size()) {}

  void add(const Replica& replica) {
    std::vector<Replica>& replicas = replicas_[static_cast<std::size_t>(replica.action.stage)];
    replicas.push_back(replica);
    if (replicas.size() == placement_.replicas.size()) {
      const auto last =
          std::ranges::max_element(replicas, {}, [](const Replica& one) { return one.there.time; });
      ready_.emplace(last->there.time, replica.action.stage);
    }
  }

  // Runs reductions in their order until that of one of these stages, and returns it. All replicas
  // must have reached it, and those that the lists have not reached yet must not be able to begin
  // before it. Calls on_done(replica, start, end) for each replica of each; length_of(action) is
  // the time that it needs.
  template <typename Length, typename OnDone>
  int run_one_of(const std::set<int>& stages, const Length& length_of, const OnDone& on_done) {
    const auto early =
        std::ranges::find_if(stages, [&](int stage) { return unasked_.count(stage) > 0; });
    int stage = early == stages.end() ? run_first(length_of, on_done) : *early;
    while (stages.count(stage) == 0) {
      unasked_.insert(stage);
      stage = run_first(length_of, on_done);
    }
    unasked_.erase(stage);
    return stage;
  }

  // Runs the rest.
  template <typename Length, typename OnDone>
  void run_all(const Length& length_of, const OnDone& on_done) {
    while (!ready_.empty()) {
      run_first(length_of, on_done);
    }
  }

  // Returns when the last sum of a replica's gradients ends, by its REDUCE_GRAD or its U.
  const Time& end_of(const Action& action) const { return end_[place_of(action)]; }
  // Returns when the last reduction of a rank ends.
  const Time& free_at(int rank) const { return free_[static_cast<std::size_t>(rank)]; }

 private:
  // Runs the first of those that all their replicas have reached, and returns its stage.
  template <typename Length, typename OnDone>
  int run_first(const Length& length_of, const OnDone& on_done) {
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
      const Time end(start.time + length, replica.number);
      free_[static_cast<std::size_t>(replica.rank)] = end_[place_of(replica.action)] = end;
      on_done(replica, replica.there.time == start.time ? replica.there : start, end.time);
    }
    return stage;
  }

  std::size_t place_of(const Action& action) const {
    return static_cast<std::size_t>(placement_.replica_of(action.micro_batch)) * replicas_.size() +
           static_cast<std::size_t>(action.stage);
  }

  const Placement& placement_;
  std::vector<std::vector<Replica>> replicas_;  // by stage: those that have reached it
  std::set<std::pair<double, int>> ready_;      // when a stage is reached by all, and the stage
  std::set<int> unasked_;                       // stages that have run before an update asked
  std::vector<Time> free_;                      // by rank: after its last one
  std::vector<Time> end_;                       // by replica and stage
};

}  // namespace halfback::detail
