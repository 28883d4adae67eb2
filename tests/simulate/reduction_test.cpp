// What summing gradients over replicas adds to a step, in closed form, and what hides it.
#include "halfback/schedule/passes.h"
#include "halfback/simulate/cost_file.h"
#include "halfback/simulate/simulator.h"
#include "halfback/timeline/statistics.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

namespace halfback {
namespace {

using testing::parse;
using testing::reduced_at_the_end;
using testing::without;

// F = I = W = 1 of 1/N of the model, and its reduction.
CostModel costs_with(double reduce, const Schedule& schedule) {
  return uniform_costs({.reduce = reduce}, schedule);
}

double step(const Schedule& schedule, double reduce) {
  return simulate(schedule, costs_with(reduce, schedule)).makespan;
}

// In one backward, the pipelines end at stage 0, whose reduction nothing hides.
TEST(ReductionTest, OneStageARankEndsWithItsReduction) {
  for (const int ranks : {1, 2, 4, 8}) {
    for (const int pipelines : {2, 3, 5}) {
      const Schedule one = testing::family("1f1b", ranks, false);
      const Schedule schedule = data_parallel(one, pipelines);
      for (const double reduce : {0.0, 0.5, 7.0}) {
        EXPECT_EQ(step(schedule, reduce), step(one, 0) + reduce);
      }
      const Statistics numbers = statistics(simulate(schedule, costs_with(0.5, schedule)).timeline);
      const std::vector<double> half(static_cast<std::size_t>(ranks * pipelines), 0.5);
      EXPECT_EQ(numbers.reduction_seconds, half);
      EXPECT_EQ(numbers.exposed_reduction_seconds, half);
    }
  }
}

TEST(ReductionTest, TimeIsTwoLatenciesAndTheBytesThatARankMoves) {
  const Schedule one = testing::family("gpipe", 2);
  CostModel costs{.stages = {{.reduce_bytes = 24}}, .latency = 0.25, .bandwidth = 8};
  const double alone = simulate(one, costs).makespan;
  const auto added = [&](int pipelines) {
    return simulate(data_parallel(one, pipelines), costs).makespan - alone;
  };
  EXPECT_EQ(added(2), 2 * 0.25 + 24.0 / 8);
  EXPECT_EQ(added(4), 2 * 0.25 + 36.0 / 8);
  costs.reduce_latency = 1;
  costs.reduce_bandwidth = 2;
  EXPECT_EQ(added(2), 2 * 1 + 24.0 / 2);
  costs.stages.front().reduce_bytes = 0;
  EXPECT_EQ(added(2), 0) << "nothing to move takes no latency";
}

// A rank of looped-bfs ends with all backwards of its first stage, M of them: they hide the second
// stage's reduction. At the end of the lists both are exposed.
TEST(ReductionTest, LaterStagesHideBehindEarlierOnes) {
  const PipelineShape shape{.num_ranks = 4, .num_micro_batches = 4, .two_stage = false};
  const Schedule one = build_schedule("looped-bfs", shape);
  const Schedule schedule = data_parallel(one, 2);
  for (const double reduce : {1.0, 4.0, 8.0}) {  // of a stage half of it; 4 B of a stage take 4
    EXPECT_EQ(step(schedule, reduce), step(one, 0) + reduce / 2);
    EXPECT_EQ(step(reduced_at_the_end(schedule), reduce), step(one, 0) + reduce);
  }
  EXPECT_EQ(step(schedule, 12), step(one, 0) + 6 + 2);  // the second waits for the first
  const Statistics numbers = statistics(simulate(schedule, costs_with(4, schedule)).timeline);
  EXPECT_EQ(numbers.reduction_seconds, std::vector<double>(8, 4.0));
  EXPECT_EQ(numbers.exposed_reduction_seconds, std::vector<double>(8, 2.0));
}

double exposed(const Schedule& schedule, double reduce) {
  const Statistics numbers = statistics(simulate(schedule, costs_with(reduce, schedule)).timeline);
  return std::accumulate(numbers.exposed_reduction_seconds.begin(),
                         numbers.exposed_reduction_seconds.end(), 0.0);
}

// Pairs of ranks have all their stages in common, so at the end they are reduced one after the
// other. Eagerly part of it is hidden; Chimera's middle ranks end with W of both their stages and
// hide nothing, which is why its authors begin early on the edges alone.
TEST(ReductionTest, EagerSynchronizationHidesAPart) {
  for (const char* name : {"chimera", "dualpipe", "bitpipe", "bitpipe-split"}) {
    for (const int ranks : {4, 8}) {
      const Schedule eager = testing::family(name, ranks);
      const double stages = 2.0 * eager.num_stages() / ranks;
      const double plain = step(eager, 0);
      EXPECT_EQ(step(reduced_at_the_end(eager), 2), plain + 2 * 2) << name;
      EXPECT_EQ(step(without(eager, ActionKind::ReduceGradient), 2), plain + 2 * 2) << name;
      EXPECT_EQ(exposed(reduced_at_the_end(eager), 2), ranks * 2 * 2) << name;
      EXPECT_LT(exposed(eager, 2), ranks * 2 * 2) << name;
      EXPECT_GE(step(eager, 2), plain + 2 * 2 / stages) << name;
      if (std::string(name) == "chimera") {
        EXPECT_EQ(step(eager, 2), plain + 2 * 2);
      } else {
        EXPECT_LT(step(eager, 2), plain + 2 * 2) << name;
      }
    }
  }
}

// The table in docs/schedules.md: two replicas of the weights on four ranks, four micro-batches.
TEST(ReductionTest, TwoCopiesOnFourRanks) {
  constexpr double kReduce[] = {0, 0.5, 1, 2, 4};
  const auto expect = [&](const Schedule& schedule, const std::vector<double>& makespans) {
    const double share = 4.0 / ranks_per_replica(schedule.placement);  // costs are of a quarter
    for (std::size_t i = 0; i < makespans.size(); ++i) {
      const StageCost cost{
          .forward = share, .input = share, .weight = share, .reduce = share * kReduce[i]};
      EXPECT_EQ(simulate(schedule, uniform_costs(cost, schedule)).makespan, makespans[i])
          << schedule.name;
    }
  };
  const auto twice = [](const char* name) {
    return data_parallel(build_schedule(name, {.num_ranks = 2, .num_micro_batches = 2}), 2);
  };
  expect(testing::family("chimera", 4), {13, 14, 15, 17, 21});
  expect(testing::family("bitpipe-split", 4), {12.5, 12.75, 13, 14, 18});
  expect(twice("1f1b"), {14, 15, 16, 18, 22});
  expect(twice("looped-bfs"), {14, 14.5, 15, 16, 20});
  expect(twice("zb-v"), {13, 13.5, 14, 16, 20});
  expect(twice("zb-wave"), {12.5, 12.75, 13, 14, 17.5});
}

TEST(ReductionTest, ARankTakesPartInOneAtATime) {
  // Rank 0 has stages 0 and 1, of which the other replicas are on ranks 1 and 2.
  const Schedule schedule = parse(
      "# halfback schedule micro_batches=2 placement=0,0|1,2 replicas=0,1\n"
      "0F0,1F0,1B0,1REDUCE_GRAD,0B0,0REDUCE_GRAD\n"
      "0F1,0B1,0REDUCE_GRAD\n"
      "1F1,1B1,1REDUCE_GRAD\n");
  const SimulationResult result = simulate(schedule, {.stages = {{.reduce = 10}}});
  const auto span_of = [&](int rank, const std::string& name) {
    return *std::find_if(
        result.timeline.spans.begin(), result.timeline.spans.end(),
        [&](const Span& span) { return span.rank == rank && to_string(span.action) == name; });
  };
  for (const int rank : {0, 2}) {
    EXPECT_EQ(span_of(rank, "1REDUCE_GRAD").start_seconds, 4);  // both are there: F, F and B
    EXPECT_EQ(span_of(rank, "1REDUCE_GRAD").end_seconds, 14);
  }
  for (const int rank : {0, 1}) {
    EXPECT_EQ(span_of(rank, "0REDUCE_GRAD").start_seconds, 14);
    EXPECT_EQ(span_of(rank, "0REDUCE_GRAD").end_seconds, 24);
  }
  EXPECT_EQ(result.makespan, 24);
  EXPECT_EQ(result.busy, (std::vector<double>{6, 3, 3}));
}

TEST(ReductionTest, UpdatesWaitForTheReductionsOfTheirRank) {
  const Schedule schedule = data_parallel(testing::family("naive", 2, false), 2);
  CostModel costs{.stages = {{.update = 1, .reduce = 3}}};
  EXPECT_EQ(simulate(schedule, costs).makespan, 6 + 3 + 1);
  costs.updates = UpdateRule::PerRank;
  const SimulationResult result = simulate(schedule, costs);
  const Span& update = result.timeline.spans[7];
  EXPECT_EQ(to_string(update.action), "1U");
  EXPECT_EQ(update.start_seconds, 4 + 3);
}

// Of local-last with one stage trained, the last rank alone has gradients.
TEST(ReductionTest, StagesThatDoNotTrainAreNotReducedOrUpdated) {
  const Schedule last = build_schedule(
      "local-last", {.num_ranks = 3, .num_micro_batches = 2, .stage_updates = false});
  const Schedule schedule = data_parallel(last, 2);
  const CostModel costs{.stages = {{.update = 5, .reduce = 2}}};
  for (const Schedule& same : {schedule, without(schedule, ActionKind::ReduceGradient)}) {
    const SimulationResult result = simulate(same, costs);
    EXPECT_EQ(result.busy, (std::vector<double>{2, 2, 11, 2, 2, 11}));
    EXPECT_EQ(result.makespan, 2 + 6 + 2 + 5);
    EXPECT_EQ(statistics(result.timeline).reduction_seconds,
              (std::vector<double>{0, 0, 2, 0, 0, 2}));
  }
}

TEST(ReductionTest, CriticalPathsGoThroughReductions) {
  const Schedule schedule = data_parallel(testing::family("naive", 2, false), 2);
  const CostModel costs{.stages = {{.reduce = 0.5}, {.reduce = 9}}};
  const std::vector<Position> path = critical_path(schedule, costs);
  ASSERT_EQ(path.size(), 4U);
  EXPECT_EQ(to_string(action_at(schedule, path.back())), "1REDUCE_GRAD");
  EXPECT_EQ(to_string(action_at(schedule, path[2])), "1B0");
}

TEST(ReductionTest, MeasuredLengthIsThatOfTheCopyThatWaitsForNobody) {
  const Action reduce{ActionKind::ReduceGradient, 0, 0};
  const Timeline timeline{.num_ranks = 2, .spans = {{0, reduce, 1.0, 5.0}, {1, reduce, 4.0, 5.0}}};
  CostModel costs;
  take_measured_costs(costs, timeline, SpanClock::Wall);
  EXPECT_EQ(costs.stages.front().reduce, 1.0);
  EXPECT_EQ(costs.stages.front().forward, 1.0);
}

TEST(ReductionTest, BytesComeFromTheMemoryOfAFile) {
  const CostFile file = parse_cost_file(
      R"({"stages": [{"forward": 1, "input": 1, "weight": 1,
                      "memory": {"until_input": 0, "until_weight": 0, "gradients": 0,
                                 "activation_message": 0, "gradient_message": 0,
                                 "parameters": 64, "parameter_gradients": 32}}],
          "reduce_latency": 0.5, "reduce_bandwidth": 16})",
      "costs.json");
  EXPECT_EQ(file.costs.reduction(0, 2), 1 + 2);
  EXPECT_EQ(to_cost_file(parse_cost_file(to_cost_file(file), "again")), to_cost_file(file));
}

}  // namespace
}  // namespace halfback
