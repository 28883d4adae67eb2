#include "halfback/schedule/search/dispatch.h"
#include "halfback/schedule/search/order_search.h"
#include "halfback/schedule/search/weight_filling.h"
#include "halfback/schedule/validate.h"
#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace halfback {
namespace {

TaskGraph graph_of(int ranks, int micro_batches, const ShareTimes& times = {}) {
  return TaskGraph(looped_placement(ranks), micro_batches, /*two_stage=*/true, times);
}

// Keys that let micro-batch after micro-batch run.
std::vector<std::int64_t> serial_keys(const TaskGraph& graph) {
  std::vector<std::int64_t> keys(static_cast<std::size_t>(graph.size()));
  for (int id = 0; id < graph.size(); ++id) {
    keys[static_cast<std::size_t>(id)] = graph.action(id).micro_batch;
  }
  return keys;
}

TEST(TaskGraphTest, NumbersActionsAndKnowsTheirSources) {
  const TaskGraph graph = graph_of(2, 3);
  ASSERT_EQ(graph.size(), 18);
  for (int id = 0; id < graph.size(); ++id) {
    EXPECT_EQ(graph.id_of(graph.action(id)), id);
    for (const int next : graph.task(id).after) {
      if (next >= 0) {
        EXPECT_EQ(graph.task(next).before, id);
      }
    }
  }
  EXPECT_EQ(graph.task(graph.backward(1, 2)).before, graph.forward(1, 2));
  EXPECT_EQ(graph.task(graph.backward(0, 2)).before, graph.backward(1, 2));
  EXPECT_EQ(graph.task(graph.weight(0, 2)).before, graph.backward(0, 2));
}

TEST(TaskGraphTest, EqualTimesAreEqualTicksOnAnyNumberOfStages) {
  const TaskGraph graph(looped_placement(3, 7), 2, true, {0.1, 0.1, 0.1, 0.1});
  EXPECT_EQ(graph.task(graph.forward(0, 0)).ticks, graph.task(graph.weight(0, 0)).ticks);
  // A hop as long as F on 1/3 of the model is seven of F on 1/21.
  EXPECT_EQ(graph.hop(graph.forward(0, 0), graph.forward(1, 0)),
            7 * graph.task(graph.forward(0, 0)).ticks);
  EXPECT_EQ(graph.hop(graph.forward(0, 0), graph.weight(0, 0)), 0);
}

TEST(DispatchTest, KeepsTheMemoryLimitAndEverySource) {
  const TaskGraph graph = graph_of(3, 5, {1.0, 1.5, 0.5, 0.25});
  for (const std::int64_t limit : {1, 2, 3}) {
    const auto times =
        dispatch(graph, serial_keys(graph), {.memory_limit = limit * TaskGraph::kMemoryUnit});
    ASSERT_TRUE(times);
    for (int rank = 0; rank < 3; ++rank) {
      std::vector<int> order;
      for (int id = 0; id < graph.size(); ++id) {
        if (graph.task(id).rank == rank) {
          order.push_back(id);
        }
      }
      const auto begin = [&](int id) { return times->begin[static_cast<std::size_t>(id)]; };
      std::sort(order.begin(), order.end(), [&](int a, int b) { return begin(a) < begin(b); });
      std::int64_t held = 0;
      for (const int id : order) {
        held += graph.task(id).memory;
        EXPECT_LE(held, limit * TaskGraph::kMemoryUnit);
        const int source = graph.task(id).before;
        if (source >= 0) {
          EXPECT_GE(begin(id),
                    times->end[static_cast<std::size_t>(source)] + graph.hop(source, id));
        }
      }
    }
  }
}

TEST(DispatchTest, KeysThatBreakTheLimitGetStuckAndSaySo) {
  const TaskGraph graph = graph_of(1, 3);
  std::vector<std::int64_t> keys(static_cast<std::size_t>(graph.size()));
  std::iota(keys.begin(), keys.end(), 0);  // all forwards first
  EXPECT_FALSE(dispatch(graph, keys, {.memory_limit = 2 * TaskGraph::kMemoryUnit, .window = 1}));
  EXPECT_TRUE(dispatch(graph, keys, {.memory_limit = 3 * TaskGraph::kMemoryUnit, .window = 1}));
}

TEST(DispatchTest, ReversedTimesAreThoseOfAReversedStep) {
  const TaskGraph graph = graph_of(2, 4);
  std::vector<std::int64_t> keys = serial_keys(graph);
  std::transform(keys.begin(), keys.end(), keys.begin(), std::negate<>());
  const auto times =
      dispatch(graph, keys, {.direction = TaskGraph::Direction::Reversed, .release = {1, 0}});
  ASSERT_TRUE(times);
  for (int id = 0; id < graph.size(); ++id) {
    const int source = graph.task(id).before;
    if (source >= 0) {
      EXPECT_GE(times->begin[static_cast<std::size_t>(source)],
                times->end[static_cast<std::size_t>(id)]);
    }
    EXPECT_GE(times->begin[static_cast<std::size_t>(id)], graph.task(id).rank == 0 ? 1 : 0);
  }
}

TEST(OrderSearchTest, NeverLosesToAnOrderThatItKnows) {
  const Schedule known = build_schedule("zb-h1", {.num_ranks = 6, .num_micro_batches = 13});
  const ShareTimes odd = {1.7, 2.3, 0.9, 0.4};
  SearchProblem problem{
      .placement = known.placement, .num_micro_batches = 13, .times = odd, .memory_limit = 6.0};
  problem.known = {known};
  CostModel costs = uniform_costs({.forward = 1.7, .input = 2.3, .weight = 0.9}, known);
  costs.latency = 0.4;
  EXPECT_LE(simulate(search_order("found", problem), costs).makespan,
            simulate(known, costs).makespan + 1e-4);
}

TEST(OrderSearchTest, IsAFunctionOfItsNumbers) {
  const SearchProblem problem{.placement = wave_placement(5, 2),
                              .num_micro_batches = 11,
                              .times = {3.0, 2.0, 1.5, 0.1},
                              .memory_limit = 4.0};
  EXPECT_EQ(search_order("one", problem).ranks, search_order("two", problem).ranks);
}

TEST(OrderSearchTest, OneMicroBatchOfMemoryIsEnoughOnAnyPlacement) {
  for (const Placement& placement :
       {looped_placement(3), looped_placement(3, 3), wave_placement(3, 4), wave_placement(1, 2)}) {
    const Schedule schedule = search_order(
        "tight", {.placement = placement, .num_micro_batches = 4, .memory_limit = 1.0});
    validate(schedule);
    for (const double peak : activation_peaks(schedule)) {
      EXPECT_LE(peak, 1.0);
    }
  }
}

TEST(WeightFillingTest, FillsWaitsAndKeepsTheLimit) {
  const Schedule plain = testing::parse(
      "# halfback schedule micro_batches=2 placement=0,1\n"
      "0F0,0F1,0I0,0W0,0I1,0W1\n1F0,1I0,1W0,1F1,1I1,1W1\n");
  // Rank 1: W0 would delay F1, which is there; after I1 all is left over.
  EXPECT_EQ(testing::list_text(fill_weight_gradients(plain, {}, 0.0), 1),
            "1F0 1I0 1F1 1I1 1W0 1W1");
  EXPECT_EQ(testing::list_text(fill_weight_gradients(plain, {}, 1.0), 1),
            "1F0 1I0 1W0 1F1 1I1 1W1");
  // Rank 0 waits for the gradient of 1I1 from 4 to 5: time for one W.
  EXPECT_EQ(testing::list_text(fill_weight_gradients(plain, {}, 0.0), 0),
            "0F0 0F1 0I0 0W0 0I1 0W1");
  const ShareTimes slow_weight = {1.0, 1.0, 2.0, 0.0};
  EXPECT_EQ(testing::list_text(fill_weight_gradients(plain, slow_weight, 0.0), 0),
            "0F0 0F1 0I0 0I1 0W0 0W1");
}

}  // namespace
}  // namespace halfback
