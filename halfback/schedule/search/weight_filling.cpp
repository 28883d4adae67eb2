#include "halfback/schedule/search/weight_filling.h"

#include "halfback/base/error.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <queue>
#include <utility>

namespace halfback {

namespace {

class Filler {
 public:
  Filler(const Schedule& schedule, const ShareTimes& times, double memory_limit)
      : schedule_(schedule),
        graph_(schedule.placement, schedule.num_micro_batches, /*two_stage=*/true, times),
        ends_(static_cast<std::size_t>(graph_.size()), kNever),
        ranks_(schedule.ranks.size()) {
    const double stages_per_rank =
        static_cast<double>(schedule.num_stages()) / schedule.num_ranks();
    limit_ = static_cast<int>(std::floor(memory_limit * stages_per_rank + 1e-9));
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      for (const Action& action : schedule.ranks[rank]) {
        if (action.kind != ActionKind::BackwardWeight) {
          ranks_[rank].next.push_back(graph_.id_of(action));
        }
      }
    }
  }

  Schedule run() {
    for (int rank = 0; rank < schedule_.num_ranks(); ++rank) {
      wakes_.emplace(0, rank);
    }
    while (!wakes_.empty()) {
      const auto [time, index] = wakes_.top();
      wakes_.pop();
      Rank& rank = ranks_[static_cast<std::size_t>(index)];
      if (rank.free_at <= time) {
        act(rank, index, time);
      }
    }
    Schedule filled = schedule_;
    for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
      HALFBACK_CHECK(ranks_[rank].next.empty(), "the order of a builder got stuck");
      filled.ranks[rank] = std::move(ranks_[rank].list);
    }
    return filled;
  }

 private:
  static constexpr std::int64_t kNever = -1;
  struct Rank {
    std::deque<int> next;     // the rest of the fixed order
    std::deque<int> weights;  // pending
    std::int64_t free_at = 0;
    int held = 0;
    std::vector<Action> list;
  };

  void act(Rank& rank, int index, std::int64_t time) {
    if (rank.next.empty()) {
      begin_weight(rank, index, time);
      return;
    }
    const int id = rank.next.front();
    const bool is_forward = graph_.action(id).kind == ActionKind::Forward;
    const bool is_full = is_forward && limit_ > 0 && rank.held >= limit_;
    if (is_full && !rank.weights.empty()) {
      begin_weight(rank, index, time);
      return;
    }
    const std::int64_t ready = earliest(id, time);
    if (ready <= time) {
      rank.next.pop_front();
      begin(rank, index, id, time);
    } else if (!rank.weights.empty() && time + graph_.task(rank.weights.front()).ticks <= ready) {
      begin_weight(rank, index, time);
    } else {
      wakes_.emplace(ready, index);
    }
  }

  // Returns the earliest time, from now on, at which a task's inputs have arrived.
  std::int64_t earliest(int id, std::int64_t now) const {
    std::int64_t path = 0;
    for (int source = graph_.task(id).before; source >= 0; source = graph_.task(id).before) {
      path += graph_.hop(source, id);
      const std::int64_t end = ends_[static_cast<std::size_t>(source)];
      if (end != kNever) {
        return std::max(now, end + path);
      }
      path += graph_.task(source).ticks;
      id = source;
    }
    return now + path;
  }

  void begin_weight(Rank& rank, int index, std::int64_t time) {
    if (!rank.weights.empty()) {
      const int id = rank.weights.front();
      rank.weights.pop_front();
      begin(rank, index, id, time);
    }
  }

  void begin(Rank& rank, int index, int id, std::int64_t time) {
    const Action action = graph_.action(id);
    const std::int64_t end = time + graph_.task(id).ticks;
    ends_[static_cast<std::size_t>(id)] = end;
    rank.free_at = end;
    rank.list.push_back(action);
    rank.held += action.kind == ActionKind::Forward          ? 1
                 : action.kind == ActionKind::BackwardWeight ? -1
                                                             : 0;
    if (action.kind == ActionKind::BackwardInput) {
      rank.weights.push_back(graph_.weight(action.stage, action.micro_batch));
    }
    wakes_.emplace(end, index);
  }

  const Schedule& schedule_;
  TaskGraph graph_;
  int limit_ = 0;  // stages times micro-batches; 0: none
  std::vector<std::int64_t> ends_;
  std::vector<Rank> ranks_;
  using Wake = std::pair<std::int64_t, int>;
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> wakes_;
};

}  // namespace

Schedule fill_weight_gradients(const Schedule& schedule,
                               const ShareTimes& times,
                               double memory_limit) {
  return Filler(schedule, times, memory_limit).run();
}

}  // namespace halfback
