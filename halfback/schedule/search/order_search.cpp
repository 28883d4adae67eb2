#include "halfback/schedule/search/order_search.h"

#include "halfback/base/error.h"
#include "halfback/schedule/search/dispatch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

namespace halfback {

namespace {

using Keys = std::vector<std::int64_t>;

// One micro-batch's path: slots from one stage to the next, for the even and the odd stages of a
// rank; and slots from one micro-batch to the next.
struct BuildingBlock {
  std::array<int, 2> forward;
  std::array<int, 2> backward;
  int distance;
};

// Found by trying many. The first two alone give the best known orders for V placements of 2 to 10
// ranks at nearly all limits if times are equal; the others help if they are not, or if B is one
// action. The last lets one micro-batch finish before the next starts, as the tightest memory limit
// demands.
constexpr std::array<BuildingBlock, 10> kBlocks = {{
    {{1, 3}, {1, 1}, 4},
    {{1, 1}, {2, 1}, 6},
    {{1, 1}, {1, 1}, 6},
    {{1, 1}, {1, 1}, 3},
    {{1, 1}, {1, 1}, 1},
    {{2, 1}, {1, 2}, 6},
    {{4, 2}, {2, 4}, 6},
    {{1, 1}, {2, 2}, 6},
    {{2, 2}, {2, 2}, 6},
    {{1, 1}, {1, 1}, 0},
}};

// Actions that all attempts of a search may place in total, so that large steps take seconds.
constexpr std::int64_t kBudget = 4'000'000;
constexpr int kMaxRounds = 10;
constexpr int kRoundsWithoutGain = 3;

struct Value {
  std::int64_t makespan = 0;
  std::int64_t stage_step = 0;
};

class Search {
 public:
  Search(const SearchProblem& problem, const ShareTimes& times)
      : problem_(problem),
        graph_(problem.placement,
               problem.num_micro_batches,
               problem.two_stage,
               times,
               problem.released_at_input) {
    const double stages_per_rank =
        static_cast<double>(problem.placement.num_stages()) / graph_.num_ranks();
    limit_ = std::llround(problem.memory_limit * stages_per_rank * TaskGraph::kMemoryUnit);
    const std::vector<std::int64_t> begins = graph_.earliest_begins();
    const std::vector<std::int64_t> work = graph_.work();
    const std::int64_t last = *std::max_element(begins.begin(), begins.end());
    for (std::size_t rank = 0; rank < begins.size(); ++rank) {
      bound_.makespan = std::max(bound_.makespan, begins[rank] + work[rank]);
      bound_.stage_step = std::max(bound_.stage_step, work[rank]);
      staggered_.push_back(last - begins[rank]);
    }
    const ShareTimes& t = times;
    if (t.forward != t.input || t.input != t.weight || t.latency != 0.0) {
      patiences_ = {0.0, 0.5, 1.0};
    }
  }

  // Returns the times of the best order, or nothing if no attempt kept the limit.
  const std::optional<TaskTimes>& best() const { return best_; }

  // Tries an order as it is, and improved.
  void try_order(const Keys& keys) {
    if (const auto times = attempt(keys, {.memory_limit = limit_, .window = 1})) {
      offer(*times);
      improve(times->begin);
    }
  }

  void try_all() {
    for (const Schedule& known : problem_.known) {
      try_order(keys_of(known));
    }
    for (const BuildingBlock& block : kBlocks) {
      improve(keys_of(block));
    }
  }

  const TaskGraph& graph() const { return graph_; }

 private:
  Keys keys_of(const BuildingBlock& block) const {
    const int stages = problem_.placement.num_stages();
    const int ranks = graph_.num_ranks();
    const std::int64_t distance = block.distance == 0 ? std::int64_t{8} * stages : block.distance;
    Keys keys(static_cast<std::size_t>(graph_.size()));
    std::int64_t offset = 0;
    const auto set = [&](int id, std::int64_t at) {
      keys[static_cast<std::size_t>(id)] = at + distance * (id % graph_.num_micro_batches());
    };
    for (int stage = 0; stage < stages; ++stage) {
      for (int b = 0; b < graph_.num_micro_batches(); ++b) {
        set(graph_.forward(stage, b), offset);
      }
      offset += stage % ranks + 1 == ranks ? 1 : block.forward[stage / ranks % 2];
    }
    for (int stage = stages - 1; stage >= 0; --stage) {
      for (int b = 0; b < graph_.num_micro_batches(); ++b) {
        set(graph_.backward(stage, b), offset);
        if (graph_.two_stage()) {
          set(graph_.weight(stage, b), offset + 1);
        }
      }
      offset += stage % ranks == 0 ? 1 : block.backward[stage / ranks % 2];
    }
    return keys;
  }

  Keys keys_of(const Schedule& schedule) const {
    Keys keys(static_cast<std::size_t>(graph_.size()));
    for (const std::vector<Action>& list : schedule.ranks) {
      for (std::size_t i = 0; i < list.size(); ++i) {
        const Action& action = list[i];
        keys[static_cast<std::size_t>(graph_.id_of(action))] = static_cast<std::int64_t>(i);
      }
    }
    return keys;
  }

  void improve(const Keys& keys) {
    for (const double patience : patiences_) {
      for (const bool staggers : {true, false}) {
        if (!is_optimal() && spent_ <= kBudget) {
          improve(keys, patience, staggers);
        }
      }
    }
  }

  // `staggers` lets the ends of ranks be as far apart as their starts.
  void improve(const Keys& keys, double patience, bool staggers) {
    const DispatchRules forward{.memory_limit = limit_, .patience = patience};
    const DispatchRules reversed{.direction = TaskGraph::Direction::Reversed,
                                 .memory_limit = limit_,
                                 .release = staggers ? staggered_ : std::vector<std::int64_t>{}};
    std::optional<TaskTimes> times = attempt(keys, forward);
    int idle = 0;
    for (int round = 0; times && round < kMaxRounds && idle < kRoundsWithoutGain; ++round) {
      idle = offer(*times) ? 0 : idle + 1;
      times = justify(*times, reversed);
      if (times) {
        offer(*times);
        const Keys begins = std::move(times->begin);
        times = attempt(begins, forward);
      }
    }
    if (times) {
      offer(*times);
    }
  }

  // Moves all tasks as late as the last one allows, by descending end. Times count from the first
  // start.
  std::optional<TaskTimes> justify(const TaskTimes& times, const DispatchRules& reversed) {
    Keys keys(times.end.size());
    std::transform(times.end.begin(), times.end.end(), keys.begin(), std::negate<>());
    std::optional<TaskTimes> late = attempt(keys, reversed);
    if (late) {
      for (std::size_t id = 0; id < keys.size(); ++id) {
        const std::int64_t begin = late->last_end - late->end[id];
        late->end[id] = late->last_end - late->begin[id];
        late->begin[id] = begin;
      }
    }
    return late;
  }

  std::optional<TaskTimes> attempt(const Keys& keys, const DispatchRules& rules) {
    spent_ += graph_.size();
    return dispatch(graph_, keys, rules);
  }

  // Keeps the times if they are the best so far; returns whether it does.
  bool offer(const TaskTimes& times) {
    const Value value = value_of(times);
    if (best_ && rank_of(value) >= rank_of(best_value_)) {
      return false;
    }
    best_ = times;
    best_value_ = value;
    return true;
  }

  Value value_of(const TaskTimes& times) const {
    const auto ranks = static_cast<std::size_t>(graph_.num_ranks());
    std::vector<std::int64_t> begins(ranks, std::numeric_limits<std::int64_t>::max());
    std::vector<std::int64_t> ends(ranks, 0);
    for (int id = 0; id < graph_.size(); ++id) {
      const auto rank = static_cast<std::size_t>(graph_.task(id).rank);
      begins[rank] = std::min(begins[rank], times.begin[static_cast<std::size_t>(id)]);
      ends[rank] = std::max(ends[rank], times.end[static_cast<std::size_t>(id)]);
    }
    Value value;
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      value.makespan = std::max(value.makespan, ends[rank]);
      value.stage_step = std::max(value.stage_step, ends[rank] - begins[rank]);
    }
    value.makespan -= *std::min_element(begins.begin(), begins.end());
    return value;
  }

  std::pair<std::int64_t, std::int64_t> rank_of(const Value& value) const {
    return problem_.goal == SearchGoal::Makespan ? std::pair(value.makespan, value.stage_step)
                                                 : std::pair(value.stage_step, value.makespan);
  }

  bool is_optimal() const { return best_ && rank_of(best_value_) <= rank_of(bound_); }

  const SearchProblem& problem_;
  TaskGraph graph_;
  std::int64_t limit_ = 0;
  std::vector<double> patiences_ = {0.0};  // with equal times, W never delays a task that is due
  Value bound_;                            // no order is better
  std::vector<std::int64_t> staggered_;    // by rank, how much later than it others start
  std::int64_t spent_ = 0;
  std::optional<TaskTimes> best_;
  Value best_value_;
};

// Justification gains most if times are small multiples of each other, because then actions fill
// gaps without remainder. Returns such times near the given ones; their orders are tried for the
// given ones.
std::vector<ShareTimes> simpler_times(const ShareTimes& times) {
  const double shortest = std::min({times.forward, times.input, times.weight});
  std::vector<ShareTimes> simpler;
  const auto add = [&](const ShareTimes& candidate) {
    if (candidate != times &&
        std::find(simpler.begin(), simpler.end(), candidate) == simpler.end()) {
      simpler.push_back(candidate);
    }
  };
  for (const double slots : {1.0, 2.0, 3.0, 4.0, 5.0}) {
    const auto rounded = [&](double time) { return std::round(time / shortest * slots) / slots; };
    add({rounded(times.forward), rounded(times.input), rounded(times.weight), 0.0});
  }
  add({1.0, 1.0, 1.0, 0.0});
  add({times.forward, times.input, times.weight, 0.0});
  return simpler;
}

}  // namespace

Schedule search_order(const std::string& name, const SearchProblem& problem) {
  Search search(problem, problem.times);
  const TaskGraph& graph = search.graph();
  for (const ShareTimes& times : simpler_times(problem.times)) {
    Search simpler(problem, times);
    simpler.try_all();
    if (simpler.best()) {
      search.try_order(simpler.best()->begin);
    }
  }
  search.try_all();
  const std::optional<TaskTimes>& times = search.best();
  if (!times) {
    throw ConfigError(
        fmt::format("{}: no order keeps within {} micro-batches of memory per rank; "
                    "it must be at least 1 (--memory-limit)",
                    name, problem.memory_limit));
  }
  std::vector<int> tasks(static_cast<std::size_t>(graph.size()));
  for (int id = 0; id < graph.size(); ++id) {
    tasks[static_cast<std::size_t>(id)] = id;
  }
  std::sort(tasks.begin(), tasks.end(), [&](int a, int b) {
    return std::pair(times->begin[static_cast<std::size_t>(a)], a) <
           std::pair(times->begin[static_cast<std::size_t>(b)], b);
  });
  Schedule schedule{
      .name = name,
      .num_micro_batches = problem.num_micro_batches,
      .placement = problem.placement,
      .ranks = std::vector<std::vector<Action>>(static_cast<std::size_t>(graph.num_ranks()))};
  for (const int id : tasks) {
    schedule.ranks[static_cast<std::size_t>(graph.task(id).rank)].push_back(graph.action(id));
  }
  return schedule;
}

}  // namespace halfback
