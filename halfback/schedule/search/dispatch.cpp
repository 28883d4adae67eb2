#include "halfback/schedule/search/dispatch.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <tuple>
#include <utility>

namespace halfback {

namespace {

class Dispatcher {
 public:
  Dispatcher(const TaskGraph& graph,
             const std::vector<std::int64_t>& keys,
             const DispatchRules& rules)
      : graph_(graph),
        rules_(rules),
        reversed_(rules.direction == TaskGraph::Direction::Reversed),
        ranks_(static_cast<std::size_t>(graph.num_ranks())),
        seen_(static_cast<std::size_t>(graph.num_kinds_and_stages()), 0) {
    times_.begin.assign(static_cast<std::size_t>(graph.size()), kNever);
    times_.end = times_.begin;
    for (int id = 0; id < graph.size(); ++id) {
      rank_of(id).waiting.push_back(id);
    }
    for (Rank& rank : ranks_) {
      std::sort(rank.waiting.begin(), rank.waiting.end(), [&](int a, int b) {
        return std::pair(keys[static_cast<std::size_t>(a)], a) <
               std::pair(keys[static_cast<std::size_t>(b)], b);
      });
    }
  }

  std::optional<TaskTimes> run() {
    for (int rank = 0; rank < graph_.num_ranks(); ++rank) {
      wakes_.emplace(rules_.release.empty() ? 0 : rules_.release[static_cast<std::size_t>(rank)],
                     rank);
    }
    while (!wakes_.empty()) {
      const auto [time, rank] = wakes_.top();
      wakes_.pop();
      if (ranks_[static_cast<std::size_t>(rank)].free_at <= time) {
        begin_next(rank, time);
      }
    }
    return num_done_ == graph_.size() ? std::optional(std::move(times_)) : std::nullopt;
  }

 private:
  static constexpr std::int64_t kNever = -1;
  struct Rank {
    std::vector<int> waiting;  // by key; those begun stay until they are in front
    std::size_t front = 0;
    std::int64_t free_at = 0;
    std::int64_t held = 0;
  };

  Rank& rank_of(int id) { return ranks_[static_cast<std::size_t>(graph_.task(id).rank)]; }
  std::int64_t end_of(int id) const { return times_.end[static_cast<std::size_t>(id)]; }
  bool begun(int id) const { return times_.begin[static_cast<std::size_t>(id)] != kNever; }

  std::int64_t memory(int id) const { return reversed_ ? -graph_.memory(id) : graph_.memory(id); }

  bool is_ready(int id, std::int64_t time) const {
    const auto arrived = [&](int source) {
      return source < 0 || (begun(source) && end_of(source) + graph_.hop(source, id) <= time);
    };
    const TaskGraph::Task& task = graph_.task(id);
    return reversed_ ? arrived(task.after[0]) && arrived(task.after[1]) : arrived(task.before);
  }

  // When a task that is not ready will be, where that is known.
  std::int64_t due_time(int id) const {
    const int source = graph_.task(id).before;
    return !reversed_ && begun(source) ? end_of(source) + graph_.hop(source, id)
                                       : std::numeric_limits<std::int64_t>::max();
  }

  double patience_of(int id) const {
    const TaskGraph::Task& task = graph_.task(id);
    return task.after[0] < 0 ? rules_.patience * static_cast<double>(task.ticks) : 0.0;
  }

  void begin_next(int index, std::int64_t time) {
    Rank& rank = ranks_[static_cast<std::size_t>(index)];
    while (rank.front < rank.waiting.size() && begun(rank.waiting[rank.front])) {
      ++rank.front;
    }
    ++stamp_;
    std::int64_t held = rank.held;
    std::int64_t peak = held;
    std::int64_t due = std::numeric_limits<std::int64_t>::max();
    int looked_at = 0;
    for (std::size_t i = rank.front; i < rank.waiting.size() && looked_at < rules_.window; ++i) {
      const int id = rank.waiting[i];
      if (begun(id)) {
        continue;
      }
      ++looked_at;
      const std::int64_t change = memory(id);
      std::int64_t& seen = seen_[static_cast<std::size_t>(graph_.kind_and_stage(id))];
      const bool fits =
          change <= 0 || rules_.memory_limit == 0 || peak + change <= rules_.memory_limit;
      const bool may_begin = seen != stamp_ && fits;
      if (may_begin && is_ready(id, time)) {
        if (static_cast<double>(due - time) < patience_of(id)) {
          wakes_.emplace(due, index);
        } else {
          begin(id, time);
        }
        return;
      }
      if (may_begin) {
        due = std::min(due, due_time(id));
      }
      seen = stamp_;
      held += change;
      peak = std::max(peak, held);
    }
  }

  void begin(int id, std::int64_t time) {
    const TaskGraph::Task& task = graph_.task(id);
    const std::int64_t end = time + task.ticks;
    times_.begin[static_cast<std::size_t>(id)] = time;
    times_.end[static_cast<std::size_t>(id)] = end;
    times_.last_end = std::max(times_.last_end, end);
    ++num_done_;
    Rank& rank = rank_of(id);
    rank.free_at = end;
    rank.held += memory(id);
    wakes_.emplace(end, task.rank);
    const auto wake = [&](int next) {
      if (next >= 0 && graph_.task(next).rank != task.rank) {
        wakes_.emplace(end + graph_.hop(id, next), graph_.task(next).rank);
      }
    };
    if (reversed_) {
      wake(task.before);
    } else {
      wake(task.after[0]);
      wake(task.after[1]);
    }
  }

  const TaskGraph& graph_;
  const DispatchRules& rules_;
  const bool reversed_;
  TaskTimes times_;
  std::vector<Rank> ranks_;
  std::vector<std::int64_t> seen_;  // by kind and stage: the last look that passed one over
  std::int64_t stamp_ = 0;
  int num_done_ = 0;
  using Wake = std::pair<std::int64_t, int>;
  std::priority_queue<Wake, std::vector<Wake>, std::greater<>> wakes_;
};

}  // namespace

std::optional<TaskTimes> dispatch(const TaskGraph& graph,
                                  const std::vector<std::int64_t>& keys,
                                  const DispatchRules& rules) {
  return Dispatcher(graph, keys, rules).run();
}

}  // namespace halfback
