// Step times, gains, bubbles and peaks against closed forms and tables.
#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace halfback {
namespace {

struct Costs {
  double f = 1.0;
  double i = 1.0;
  double w = 1.0;
};

CostModel every_stage(Costs costs) {
  return {
      .stages = {{.forward = costs.f, .input = costs.i, .weight = costs.w, .full = std::nullopt}}};
}

SimulationResult run(const std::string& name, int n, bool two_stage, Costs costs = {}) {
  return simulate(testing::family(name, n, two_stage), every_stage(costs));
}

double gain(const std::string& name, int n, Costs costs = {}) {
  return run(name, n, false, costs).makespan / run(name, n, true, costs).makespan;
}

// With any number of micro-batches.
double idle(const std::string& name, const PipelineShape& shape, Costs costs) {
  return simulate(build_schedule(name, shape), every_stage(costs)).makespan -
         shape.num_micro_batches * (costs.f + costs.i + costs.w);
}

// Binary fractions, so that sums are exact in any order.
constexpr Costs kCosts[] = {{1, 1, 1},     {1, 1.5, 1},    {0.5, 2, 0.75}, {1, 1, 2}, {1, 1, 0.5},
                            {1, 0.5, 1.5}, {1, 0.5, 0.75}, {2, 1, 0.25},   {1, 2, 0}};

// By how much every further rank delays the step of 1F1B: i where f is no more than i and w.
double hop(Costs c) { return std::max({c.f, c.i, c.f + c.i - c.w}); }

class ClosedFormTest : public ::testing::TestWithParam<int> {};

TEST_P(ClosedFormTest, UnitStepTimes) {
  const int n = GetParam();
  EXPECT_EQ(run("naive", n, false).makespan, 3 * n);
  EXPECT_EQ(run("gpipe", n, false).makespan, 6 * n - 3);
  EXPECT_EQ(run("1f1b-1", n, false).makespan, 6 * n - 3);
  EXPECT_EQ(run("1f1b-2", n, false).makespan, 9 * n - 3);
  EXPECT_EQ(run("naive", n, true).makespan, 2 * n + 1);
  EXPECT_EQ(run("gpipe", n, true).makespan, 5 * n - 2);
  EXPECT_EQ(run("1f1b-1", n, true).makespan, 4 * n - 1);
  EXPECT_EQ(run("1f1b-2", n, true).makespan, 7 * n - 1);
}

TEST_P(ClosedFormTest, UnitBubbles) {
  const double n = GetParam();
  const auto bubble = [&](const std::string& name, bool two_stage) {
    return run(name, GetParam(), two_stage).bubble_fraction;
  };
  EXPECT_NEAR(bubble("naive", false), (n - 1) / n, 1e-12);
  EXPECT_NEAR(bubble("gpipe", false), (n - 1) / (2 * n - 1), 1e-12);
  EXPECT_NEAR(bubble("1f1b-1", false), (n - 1) / (2 * n - 1), 1e-12);
  EXPECT_NEAR(bubble("1f1b-2", false), (n - 1) / (3 * n - 1), 1e-12);
  EXPECT_NEAR(bubble("naive", true), 2 * (n - 1) / (2 * n + 1), 1e-12);
  EXPECT_NEAR(bubble("gpipe", true), 2 * (n - 1) / (5 * n - 2), 1e-12);
  EXPECT_NEAR(bubble("1f1b-1", true), (n - 1) / (4 * n - 1), 1e-12);
  EXPECT_NEAR(bubble("1f1b-2", true), (n - 1) / (7 * n - 1), 1e-12);
}

TEST_P(ClosedFormTest, GeneralCosts) {
  const int n = GetParam();
  for (const Costs& c : kCosts) {
    const double all = c.f + c.i + c.w;
    EXPECT_EQ(run("naive", n, false, c).makespan, n * all);
    EXPECT_EQ(run("gpipe", n, false, c).makespan, (2 * n - 1) * all);
    EXPECT_EQ(run("1f1b-1", n, false, c).makespan, (2 * n - 1) * all);
    EXPECT_EQ(run("1f1b-2", n, false, c).makespan, (3 * n - 1) * all);
    EXPECT_EQ(run("naive", n, true, c).makespan, n * (c.f + c.i) + c.w);
    EXPECT_EQ(run("gpipe", n, true, c).makespan, (2 * n - 1) * (c.f + c.i) + n * c.w);
    EXPECT_EQ(run("1f1b-1", n, true, c).makespan, n * all + (n - 1) * hop(c));
    for (const char* name : {"1f1b-2", "1f1b-2-flush", "1f1b-2-capped"}) {
      EXPECT_EQ(run(name, n, true, c).makespan, 2 * n * all + (n - 1) * hop(c)) << name;
    }
  }
}

TEST_P(ClosedFormTest, OneForwardOneBackwardIdlesAsMuchForAnyNumberOfMicroBatches) {
  const int n = GetParam();
  for (const Costs& c : kCosts) {
    for (const int m : {n, n + 1, 3 * n + 1}) {
      EXPECT_EQ(idle("1f1b", {n, m, true}, c), (n - 1) * hop(c)) << m;
      EXPECT_EQ(idle("zb-h1", {n, m, true}, c), (n - 1) * hop(c)) << m;
      EXPECT_EQ(idle("1f1b", {n, m, false}, c), (n - 1) * (c.f + c.i + c.w)) << m;
    }
  }
}

TEST_P(ClosedFormTest, MemorySaversAreFreeInTime) {
  const int n = GetParam();
  EXPECT_EQ(run("1f1b-2-flush", n, true).makespan, 7 * n - 1);
  EXPECT_EQ(run("1f1b-2-capped", n, true).makespan, 7 * n - 1);
}

TEST_P(ClosedFormTest, PeaksAsTheHeaderStates) {
  const int n = GetParam();
  const auto plain = run("1f1b-2", n, true).held;
  const auto flush = run("1f1b-2-flush", n, true).held;
  const auto capped = run("1f1b-2-capped", n, true).held;
  for (int r = 0; r < n; ++r) {
    const auto rank = static_cast<std::size_t>(r);
    for (const auto& held : {plain, flush, capped}) {
      EXPECT_EQ(held[rank].until_input, n - r);
    }
    EXPECT_EQ(plain[rank].until_weight, 2 * n);
    EXPECT_EQ(plain[rank].gradients, n + r + 1);
    EXPECT_EQ(flush[rank].until_weight, 2 * n - 1 - r);
    EXPECT_EQ(flush[rank].gradients, n);
    EXPECT_EQ(capped[rank].until_weight, n);
    EXPECT_EQ(capped[rank].gradients, r + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, ClosedFormTest, ::testing::Range(2, 17));

struct GainRow {
  int n;
  double gain[4];
  double off[4];
  double on[4];
};

constexpr const char* kNames[4] = {"naive", "gpipe", "1f1b-1", "1f1b-2"};

TEST(TableTest, GainsAndBubblesToTheDigit) {
  const GainRow rows[] = {
      {2, {1.200, 1.125, 1.286, 1.154}, {.500, .333, .333, .200}, {.400, .250, .143, .077}},
      {4, {1.333, 1.167, 1.400, 1.222}, {.750, .429, .429, .273}, {.667, .333, .200, .111}},
      {8, {1.412, 1.184, 1.452, 1.255}, {.875, .467, .467, .304}, {.824, .368, .226, .127}},
      {16, {1.455, 1.192, 1.476, 1.270}, {.938, .484, .484, .319}, {.909, .385, .238, .135}},
  };
  for (const GainRow& row : rows) {
    for (std::size_t k = 0; k < 4; ++k) {
      // 0.9375 is printed as .938: half a unit of the last digit, and a little.
      EXPECT_NEAR(gain(kNames[k], row.n), row.gain[k], 5.01e-4) << kNames[k] << " " << row.n;
      EXPECT_NEAR(run(kNames[k], row.n, false).bubble_fraction, row.off[k], 5.01e-4);
      EXPECT_NEAR(run(kNames[k], row.n, true).bubble_fraction, row.on[k], 5.01e-4);
    }
  }
}

TEST(TableTest, SensitivityToTheDigit) {
  const std::pair<Costs, std::vector<double>> rows[] = {
      {{1, 1, 1}, {1.333, 1.167, 1.400, 1.222}},
      {{1, 1.5, 1}, {1.273, 1.140, 1.324, 1.185}},
      {{1, 1, 0.5}, {1.176, 1.094, 1.207, 1.122}},
      {{1, 1, 2}, {1.600, 1.273, 1.474, 1.257}},
  };
  for (const auto& [costs, gains] : rows) {
    for (std::size_t k = 0; k < 4; ++k) {
      EXPECT_NEAR(gain(kNames[k], 4, costs), gains[k], 5.01e-4) << kNames[k] << " w " << costs.w;
    }
  }
}

// Rank by rank: held until I, held until W, gradients stored.
struct PeakRow {
  const char* name;
  bool two_stage;
  double makespan;
  int until_input[4];
  int until_weight[4];
  int gradients[4];
};

TEST(TableTest, StepAndPeaksOfFourRanks) {
  const PeakRow rows[] = {
      {"naive", false, 12, {1, 1, 1, 1}, {1, 1, 1, 1}, {0, 0, 0, 0}},
      {"naive", true, 9, {1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}},
      {"gpipe", false, 21, {4, 4, 4, 4}, {4, 4, 4, 4}, {0, 0, 0, 0}},
      {"gpipe", true, 18, {4, 4, 4, 4}, {4, 4, 4, 4}, {4, 4, 4, 4}},
      {"1f1b-1", false, 21, {4, 3, 2, 1}, {4, 3, 2, 1}, {0, 0, 0, 0}},
      {"1f1b-1", true, 15, {4, 3, 2, 1}, {4, 4, 4, 4}, {1, 2, 3, 4}},
      {"1f1b-2", false, 33, {4, 3, 2, 1}, {4, 3, 2, 1}, {0, 0, 0, 0}},
      {"1f1b-2", true, 27, {4, 3, 2, 1}, {8, 8, 8, 8}, {5, 6, 7, 8}},
      {"1f1b-2-flush", true, 27, {4, 3, 2, 1}, {7, 6, 5, 4}, {4, 4, 4, 4}},
      {"1f1b-2-capped", true, 27, {4, 3, 2, 1}, {4, 4, 4, 4}, {1, 2, 3, 4}},
  };
  for (const PeakRow& row : rows) {
    const SimulationResult result = run(row.name, 4, row.two_stage);
    EXPECT_EQ(result.makespan, row.makespan) << row.name;
    for (std::size_t r = 0; r < 4; ++r) {
      EXPECT_EQ(result.held[r].until_input, row.until_input[r]) << row.name << " rank " << r;
      EXPECT_EQ(result.held[r].until_weight, row.until_weight[r]) << row.name << " rank " << r;
      EXPECT_EQ(result.held[r].gradients, row.gradients[r]) << row.name << " rank " << r;
    }
  }
}

// 1f1b-2 with all pending W after every `count` I of a rank while it has F left, then one W after
// each I: less memory for more time.
Schedule flushed(std::size_t count) {
  Schedule schedule = testing::family("1f1b-2", 4, false);
  for (std::vector<Action>& list : schedule.ranks) {
    std::vector<Action> result;
    std::vector<Action> pending;
    int num_forwards = 0;
    for (const Action& action : list) {
      if (action.kind == ActionKind::Forward) {
        result.push_back(action);
        ++num_forwards;
        continue;
      }
      result.push_back(action.as(ActionKind::BackwardInput));
      pending.push_back(action.as(ActionKind::BackwardWeight));
      const bool cools_down = num_forwards == schedule.num_micro_batches;
      const std::size_t due = cools_down ? 1 : pending.size() == count ? count : 0;
      const auto end = pending.begin() + static_cast<std::ptrdiff_t>(due);
      result.insert(result.end(), pending.begin(), end);
      pending.erase(pending.begin(), end);
    }
    result.insert(result.end(), pending.begin(), pending.end());
    list = result;
  }
  return schedule;
}

TEST(TableTest, EarlierWeightGradientsTakeTimeForMemory) {
  const auto expect = [](std::size_t count, double makespan, const std::vector<int>& until_weight) {
    const SimulationResult result = simulate(flushed(count), {});
    EXPECT_EQ(result.makespan, makespan);
    for (std::size_t r = 0; r < 4; ++r) {
      EXPECT_EQ(result.held[r].until_weight, until_weight[r]) << "rank " << r;
      EXPECT_EQ(result.held[r].gradients, static_cast<int>(count)) << "rank " << r;
    }
  };
  expect(1, 30, {4, 3, 2, 1});
  expect(2, 29, {5, 4, 3, 2});
}

}  // namespace
}  // namespace halfback
