#include "halfback/schedule/search/dispatch.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
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
        next_(static_cast<std::size_t>(graph.size()), kNone),
        queues_(static_cast<std::size_t>(graph.num_queues())) {
    times_.begin.assign(static_cast<std::size_t>(graph.size()), kNever);
    times_.end = times_.begin;
    std::vector<int> order(static_cast<std::size_t>(graph.size()));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
    });
    for (auto id = order.rbegin(); id != order.rend(); ++id) {
      next_[static_cast<std::size_t>(*id)] = rank_of(*id).first;
      rank_of(*id).first = *id;
      if (queue_of(*id).num_waiting++ == 0) {
        ++rank_of(*id).num_queues;
      }
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
  static constexpr int kNone = -1;
  struct Rank {
    int first = kNone;   // first waiting task by key; next_ has the others
    int num_queues = 0;  // queues that are not empty
    std::int64_t free_at = 0;
    std::int64_t held = 0;
  };
  struct Queue {
    int num_waiting = 0;
    std::int64_t seen = 0;  // stamp of the last look that skipped a task of it
  };

  Rank& rank_of(int id) { return ranks_[static_cast<std::size_t>(graph_.task(id).rank)]; }
  Queue& queue_of(int id) { return queues_[static_cast<std::size_t>(graph_.task(id).queue)]; }
  std::int64_t end_of(int id) const { return times_.end[static_cast<std::size_t>(id)]; }
  bool begun(int id) const { return times_.begin[static_cast<std::size_t>(id)] != kNever; }

  bool is_ready(int id, std::int64_t time) const {
    const auto arrived = [&](int source) {
      return source < 0 || (begun(source) && end_of(source) + graph_.hop(source, id) <= time);
    };
    const TaskGraph::Task& task = graph_.task(id);
    return reversed_ ? arrived(task.after[0]) && arrived(task.after[1]) : arrived(task.before);
  }

  // Returns when a task that is not ready will be ready, if that is known.
  std::int64_t due_time(int id) const {
    const int source = graph_.task(id).before;
    return !reversed_ && begun(source) ? end_of(source) + graph_.hop(source, id)
                                       : std::numeric_limits<std::int64_t>::max();
  }

  double patience_of(int id) const {
    const TaskGraph::Task& task = graph_.task(id);
    return task.after[0] < 0 ? rules_.patience * static_cast<double>(task.ticks) : 0.0;
  }

  // A rank's walk along its waiting tasks, from the first on.
  struct Look {
    int* link;          // to the current task
    std::int64_t held;  // memory once the skipped tasks are done, in order
    std::int64_t peak;
    std::int64_t due = std::numeric_limits<std::int64_t>::max();  // when one of them is ready
    int num_queues = 0;                                           // seen
  };

  void begin_next(int index, std::int64_t time) {
    Rank& rank = ranks_[static_cast<std::size_t>(index)];
    ++stamp_;
    Look look{.link = &rank.first, .held = rank.held, .peak = rank.held};
    for (int i = 0; i < rules_.window && look.num_queues < rank.num_queues; ++i) {
      if (decides(index, time, look)) {
        return;
      }
    }
  }

  // Starts the current task, or waits for one in front of it. Returns false if it skips the task.
  bool decides(int index, std::int64_t time, Look& look) {
    const int id = *look.link;
    const TaskGraph::Task& task = graph_.task(id);
    const std::int64_t change = reversed_ ? -task.memory : task.memory;
    Queue& queue = queue_of(id);
    const bool fits =
        change <= 0 || rules_.memory_limit == 0 || look.peak + change <= rules_.memory_limit;
    const bool may_begin = queue.seen != stamp_ && fits;
    if (may_begin && is_ready(id, time)) {
      if (static_cast<double>(look.due - time) < patience_of(id)) {
        wakes_.emplace(look.due, index);
        return true;
      }
      *look.link = next_[static_cast<std::size_t>(id)];
      Rank& rank = ranks_[static_cast<std::size_t>(index)];
      rank.held += change;
      rank.num_queues -= --queue.num_waiting == 0 ? 1 : 0;
      begin(id, time);
      return true;
    }
    if (may_begin) {
      look.due = std::min(look.due, due_time(id));
    }
    look.num_queues += queue.seen != stamp_ ? 1 : 0;
    queue.seen = stamp_;
    look.held += change;
    look.peak = std::max(look.peak, look.held);
    look.link = &next_[static_cast<std::size_t>(id)];
    return false;
  }

  void begin(int id, std::int64_t time) {
    const TaskGraph::Task& task = graph_.task(id);
    const std::int64_t end = time + task.ticks;
    times_.begin[static_cast<std::size_t>(id)] = time;
    times_.end[static_cast<std::size_t>(id)] = end;
    times_.last_end = std::max(times_.last_end, end);
    ++num_done_;
    rank_of(id).free_at = end;
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
  std::vector<int> next_;  // by task
  std::vector<Queue> queues_;
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
