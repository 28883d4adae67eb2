// Training with local updates in time, work and memory, against closed forms.
#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "halfback/simulate/local_cost.h"
#include "halfback/simulate/memory_model.h"
#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;
using Costs = std::vector<double>;

double sum(const Costs& costs) { return std::accumulate(costs.begin(), costs.end(), 0.0); }

CostModel same_stages(double f, double i, double w, double u = 0.0) {
  return {.stages = {{.forward = f, .input = i, .weight = w, .full = std::nullopt, .update = u}}};
}

class LocalTimeTest : public ::testing::TestWithParam<int> {};

TEST_P(LocalTimeTest, RepeatedGreedyWaitsOnceAtItsBegin) {
  const int n = GetParam();
  for (const bool two_stage : {false, true}) {
    for (const int m : {1, 2, 5}) {
      const Schedule schedule = build_schedule(
          "local-greedy", {.num_ranks = n, .num_micro_batches = m, .two_stage = two_stage});
      for (const int steps : {1, 2, 7}) {
        const SimulationResult result = simulate(
            repeat_steps(schedule, steps), same_stages(1.5, 1, 0.75, 0.5), {.validates = false});
        const double work = steps * (m * 3.25 + 0.5);
        EXPECT_EQ(result.makespan, (n - 1) * 1.5 + work);
        EXPECT_EQ(result.stage_step, work);
        EXPECT_NEAR(result.bubble_fraction, (n - 1) * 1.5 / ((n - 1) * 1.5 + work), 1e-12);
      }
      const SteadyStep steady = steady_step(schedule, same_stages(1.5, 1, 0.75, 0.5), 3);
      EXPECT_EQ(steady.period, m * 3.25 + 0.5);
      EXPECT_EQ(steady.bubble_fraction, 0.0);
    }
  }
}

// Backprop goes on at once too, where stages update on their own, but not without idling.
TEST_P(LocalTimeTest, RepeatedBackpropIdlesInEveryStep) {
  const int n = GetParam();
  const Schedule schedule = build_schedule(
      "1f1b",
      {.num_ranks = n, .num_micro_batches = 2 * n, .two_stage = false, .stage_updates = true});
  const SteadyStep steady = steady_step(schedule, same_stages(1, 1, 1), 4);
  EXPECT_EQ(steady.period, 2 * n * 3 + (n - 1) * 3);
}

TEST_P(LocalTimeTest, ChunksIdleAsPipelinesOfTheirLength) {
  const int n = 2 * GetParam();
  for (const bool two_stage : {false, true}) {
    const Schedule schedule = build_schedule(
        "local-chunked", {.num_ranks = n, .num_micro_batches = 2 * n, .two_stage = two_stage});
    const double hop = two_stage ? 1 : 3;
    EXPECT_EQ(steady_step(schedule, same_stages(1, 1, 1), 4).period, 6 * n + (n / 2 - 1) * hop);
  }
}

TEST_P(LocalTimeTest, AStageHoldsOneMicroBatchAtAnyDepth) {
  const int n = GetParam();
  const Schedule schedule =
      build_schedule("local-greedy", {.num_ranks = n, .num_micro_batches = 3 * n});
  for (const Kept& held : held_peaks(schedule)) {
    EXPECT_EQ(held, (Kept{1, 1, 1}));
  }
  const MemoryModel model{{{.until_input = 1,
                            .until_weight = 10,
                            .gradients = 100,
                            .activation_message = 1000,
                            .gradient_message = 10000}}};
  for (const std::int64_t peak : predict_memory(add_communication(schedule), model).peak) {
    EXPECT_LE(peak, 1111);  // no gradient crosses
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, LocalTimeTest, ::testing::Range(2, 10));

TEST(LocalMemoryTest, EachGradientHasAMessageAndStaysUntilW) {
  const Schedule schedule = add_communication(build_schedule(
      "local-overlapping",
      {.num_ranks = 4, .num_micro_batches = 1, .window = 3, .stage_updates = false}));
  EXPECT_EQ(testing::list_text(schedule, 1),
            "1RECV_F0 1F0 1SEND_F0 1RECV_B0@2 1I0@2 1SEND_B0@2 1RECV_B0@3 1I0@3 1W0");
  const MemoryModel model{{{.until_input = 1,
                            .until_weight = 10,
                            .gradients = 100,
                            .activation_message = 1000,
                            .gradient_message = 10000}}};
  const auto curve = predict_memory(schedule, model).curve[1];
  // Both stay until W, each with what W needs of F; stage 0 gets that of loss 2.
  EXPECT_EQ(curve, (std::vector<std::int64_t>{1000, 1011, 11, 10011, 10121, 121, 10121, 220, 0}));
  CostModel costs = same_stages(1, 1, 1);
  costs.bandwidth = 1.0;
  costs.stages.front().gradient_bytes = 5.0;
  // 4 forwards, I of stage 3, 5, I of 2, 5, I and W of 1
  EXPECT_EQ(simulate(schedule, costs).makespan, 4 + 1 + 5 + 1 + 5 + 2);
}

// A window of 3 stages, in a long run: each of at most 3 gradients costs an I and a W beside F.
TEST(LocalMemoryTest, WideWindowsAreFlatInDepth) {
  for (const int n : {5, 6, 9}) {
    const Schedule schedule = build_schedule(
        "local-overlapping", {.num_ranks = n, .num_micro_batches = 2 * n, .window = 3});
    for (const Kept& held : held_peaks(schedule)) {
      EXPECT_LE(held.until_weight, 3);
    }
    const SteadyStep steady = steady_step(schedule, local_costs(schedule, {Costs(n, 1.0)}), 8);
    EXPECT_EQ(steady.period, 2 * n * (1 + 2 * 3));
  }
}

TEST(LocalMemoryTest, AGradientThatOnlyPassesLeavesNothing) {
  const Schedule schedule = add_communication(build_schedule(
      "local-interlocking", {.num_ranks = 3, .num_micro_batches = 1, .stage_updates = false}));
  EXPECT_EQ(testing::list_text(schedule, 1),
            "1RECV_F0 1F0 1SEND_F0 1I0@1 1SEND_B0@1 1RECV_B0 1I0@2 1W0");
  const MemoryModel model{{{.until_input = 1,
                            .until_weight = 10,
                            .gradients = 100,
                            .activation_message = 1000,
                            .gradient_message = 10000}}};
  // The weights take the gradient of stage 2 alone.
  EXPECT_EQ(predict_memory(schedule, model).curve[1],
            (std::vector<std::int64_t>{1000, 1011, 11, 10011, 11, 10011, 110, 0}));
  EXPECT_EQ(held_peaks(schedule)[1], (Kept{1, 1, 1}));
}

TEST(LocalMemoryTest, StagesThatDoNotTrainKeepNothing) {
  const Schedule schedule = testing::family("local-last", 3);
  EXPECT_EQ(held_peaks(schedule).front(), Kept{});
  const MemoryModel model{{{.until_input = 1, .until_weight = 10}}};
  EXPECT_EQ(predict_memory(schedule, model).peak, (std::vector<std::int64_t>{0, 0, 11}));
}

// The layers of four stages and the heads of their losses, in forwards.
const Costs kLayers = {2.0, 3.0, 1.5, 2.5};
const Costs kHeads = {0.5, 0.25, 0.75, 0.125};

Costs heads_of(const Schedule& schedule) {
  Costs heads(kHeads.size(), 0.0);
  for (const LossReach& loss : schedule.losses.reaches()) {
    heads[static_cast<std::size_t>(loss.stage)] = kHeads[static_cast<std::size_t>(loss.stage)];
  }
  return heads;
}

Schedule local(const std::string& name, PipelineShape shape) {
  shape.num_ranks = 4;
  shape.num_micro_batches = std::max(shape.num_micro_batches, 1);
  return build_schedule(name, shape);
}

double total(const Schedule& schedule) {
  return total_cost(schedule, {kLayers, heads_of(schedule)});
}

// Backward as two forwards, so that with heads a_k a step costs 3 sum c_i + 3 sum a_k where each
// stage has one gradient.
TEST(LocalCostTest, TotalsOfTheSchemes) {
  const double layers = sum(kLayers);
  EXPECT_EQ(total(testing::family("naive", 4)), 3 * layers);
  EXPECT_EQ(total(local("local-greedy", {})), 3 * (layers + sum(kHeads)));
  EXPECT_EQ(total(local("local-chunked", {})), 3 * layers + 3 * (kHeads[1] + kHeads[3]));
  EXPECT_EQ(total(local("local-last", {})), layers + 2 * kLayers[3] + 3 * kHeads[3]);
  EXPECT_EQ(total(local("local-last", {.trained = 2})),
            layers + 2 * (kLayers[2] + kLayers[3]) + 3 * kHeads[3]);
  EXPECT_EQ(total(local("local-greedy", {.num_micro_batches = 6})), 18 * (layers + sum(kHeads)));
}

// 3 sum over windows (c_i in the window + a_k), less the forwards that windows share.
TEST(LocalCostTest, OverlappingWindowsShareTheirForwards) {
  const double windows = 3 * (2 * sum(kLayers) - kLayers[0] - kLayers[3]);
  const double shared = kLayers[1] + kLayers[2];
  EXPECT_EQ(total(local("local-overlapping", {})),
            windows - shared + 3 * (sum(kHeads) - kHeads[0]));
}

// 4 c_i + 3 a_i; the last stage has no loss above, and the first none of its own to carry down.
TEST(LocalCostTest, PairwiseInterlockingCarriesTwoGradientsThroughAStage) {
  EXPECT_EQ(total(local("local-interlocking", {})),
            4 * sum(kLayers) - kLayers[0] - kLayers[3] + 3 * sum(kHeads));
}

TEST(LocalCostTest, FullDistanceCostsBackpropAndTheHeads) {
  EXPECT_EQ(total(local("local-interlocking", {.distance = 3})),
            3 * sum(kLayers) + 3 * sum(kHeads));
}

double steady(const Schedule& schedule, const Costs& layers, const Costs& heads) {
  return steady_step(schedule, local_costs(schedule, {layers, heads}), 50).period;
}

TEST(LocalCostTest, GreedyGoesAtThePaceOfItsSlowestStage) {
  for (const int m : {1, 4}) {
    EXPECT_NEAR(steady(local("local-greedy", {.num_micro_batches = m}), kLayers, kHeads),
                m * 3 * (kLayers[1] + kHeads[1]), 1e-9);
  }
}

TEST(LocalCostTest, ChunksOnOneWorkerEachGoAtThePaceOfTheSlowest) {
  const Schedule schedule = testing::parse(
      "# halfback schedule placement=0,0,1,1 losses=1:0,3:2\n"
      "0F0,1F0,1I0,1W0,0I0,0W0,0U,1U\n"
      "2F0,3F0,3I0,3W0,2I0,2W0,2U,3U\n");
  EXPECT_NEAR(steady(schedule, kLayers, {0, 0.25, 0, 0.125}), 3 * (2.0 + 3.0 + 0.25), 1e-9);
  EXPECT_NEAR(steady(schedule, {1, 1, 2, 1}, {0, 0.25, 0, 0.125}), 3 * (2 + 1 + 0.125), 1e-9);
}

TEST(LocalCostTest, OverlappingGoesAtThePaceOfItsSlowestStage) {
  const Schedule schedule = local("local-overlapping", {.num_micro_batches = 8});
  EXPECT_NEAR(steady(schedule, {1, 1, 1, 1}, {0, 0, 0, 0}), 8 * 5, 1e-9);
}

// With one micro-batch a stage begins its next step when the stage above has run its forward, its
// head and its input gradient, and it its own backward: whatever the other stages do.
TEST(LocalCostTest, PairwiseInterlockingWaitsForOneNeighbor) {
  const Schedule schedule = local("local-interlocking", {});
  for (const Costs& layers : {kLayers, Costs{1, 1, 1, 1}, Costs{5, 1, 1, 1}, Costs{1, 1, 1, 9}}) {
    const CostModel costs = local_costs(schedule, {layers, kHeads});
    double slowest = 0.0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const StageCost& own = costs.stages[i];
      double period = own.forward + own.own_input.value_or(0.0) + own.input + own.weight;
      if (i + 1 < layers.size()) {
        const StageCost& above = costs.stages[i + 1];
        const double until_it_arrives =
            own.forward + above.forward + above.own_input.value_or(above.input);
        period = std::max(period, until_it_arrives + own.input + own.weight);
      }
      slowest = std::max(slowest, period);
    }
    EXPECT_NEAR(steady(schedule, layers, kHeads), slowest, 1e-9);
  }
}

TEST(LocalCostTest, FullDistanceWaitsForTheWholeStack) {
  const Costs ones = {1, 1, 1, 1};
  const Costs none = {0, 0, 0, 0};
  EXPECT_NEAR(steady(local("local-interlocking", {.distance = 3}), ones, none), 2 * 4 + 1, 1e-9);
  // Stages with two gradients have no B.
  EXPECT_NEAR(steady(local("local-interlocking", {.two_stage = false, .distance = 3}), ones, none),
              4 + 2 + 3 + 1, 1e-9);
}

// Uniform shares count a gradient as often as it passes, as local costs do without heads.
TEST(LocalCostTest, UniformCostsCountPasses) {
  for (const Family& family : local_families()) {
    const Schedule schedule = testing::family(family.name, 4);
    const CostModel uniform = uniform_costs({}, schedule);
    const CostModel expected = local_costs(schedule, {{1, 1, 1, 1}});
    for (int stage = 0; stage < 4; ++stage) {
      EXPECT_EQ(uniform.stage(stage).input, expected.stage(stage).input) << family.name;
      EXPECT_EQ(uniform.stage(stage).own_input, expected.stage(stage).own_input) << family.name;
      EXPECT_EQ(uniform.stage(stage).weight, expected.stage(stage).weight) << family.name;
    }
  }
  StageCost share;
  share.full = 1.5;
  const Schedule head_alone =
      testing::parse("# halfback schedule losses=0:none,1:1\n0F0,0B0\n1F0,1B0\n");
  EXPECT_EQ(uniform_costs(share, head_alone).stage(0).full, 0.0);
  EXPECT_EQ(uniform_costs(share, head_alone).stage(1).full, 1.5);
}

TEST(LocalCostTest, CostsOfOtherStagesAreRefused) {
  const Schedule schedule = local("local-chunked", {});
  const auto text = [&](const ForwardCosts& costs) {
    return error_of([&] { local_costs(schedule, costs); });
  };
  EXPECT_TRUE(has_text(text({{1, 1}}), "forwards of 2 stages and 0 heads for a schedule of 4"));
  EXPECT_TRUE(has_text(text({kLayers, {1}}), "forwards of 4 stages and 1 heads"));
  EXPECT_TRUE(has_text(text({kLayers, kHeads}), "a head of 0.5 on stage 0, which has no loss"));
  EXPECT_TRUE(has_text(text({{1, 1, -1, 1}}), "is a number of at least 0"));
}

}  // namespace
}  // namespace halfback
