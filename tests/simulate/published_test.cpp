// Numbers that others have printed for the families, or that simulating their public orders gives.
#include "halfback/schedule/communication.h"
#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace halfback {
namespace {

constexpr double kAny = -1.0;  // no number is known

// Qi et al., "Zero Bubble Pipeline Parallelism", ICLR 2024, arXiv 2401.10241: profile of the model
// of 1.5 billion parameters on 8 ranks (F, I, W, hop in ms).
constexpr ShareTimes kProfile = {18.522, 18.086, 9.337, 0.601};

struct Measured {
  double step_idle;  // of a rank in the step, and from its own begin to its own end
  double stage_idle;
  double work;
  double peak;  // M_B, of the worst rank
  double least_peak;

  double step_rate() const { return step_idle / (step_idle + work); }
  double stage_rate() const { return stage_idle / (stage_idle + work); }
};

Measured measure(const std::string& family, const PipelineShape& shape, const ShareTimes& times) {
  const Schedule schedule = build_schedule(family, shape);
  CostModel costs = uniform_costs(
      {.forward = times.forward, .input = times.input, .weight = times.weight}, schedule);
  costs.latency = times.latency;
  const SimulationResult result = simulate(schedule, costs);
  EXPECT_EQ(simulate(add_communication(schedule), costs).makespan, result.makespan) << family;
  const std::vector<double> peaks = activation_peaks(schedule);
  const double work = shape.num_micro_batches * (times.forward + times.input + times.weight);
  return {.step_idle = result.makespan - work,
          .stage_idle = result.stage_step - work,
          .work = work,
          .peak = *std::max_element(peaks.begin(), peaks.end()),
          .least_peak = *std::min_element(peaks.begin(), peaks.end())};
}

Measured measure(const std::string& family, const PipelineShape& shape) {
  return measure(family, shape, {});
}

// A row of the table: idle units for F = I = W = 1 and no latency. Peaks are those beyond M = N.
struct Row {
  const char* family;
  PipelineShape options;
  double idle[5];
  double peak[2];  // on 4 and on 8 ranks
  bool of_a_rank = false;
};

constexpr std::pair<int, int> kShapes[5] = {{4, 4}, {4, 8}, {8, 8}, {8, 16}, {8, 24}};

void PrintTo(const Row& row, std::ostream* out) { *out << row.family; }

class TableTest : public ::testing::TestWithParam<Row> {};

TEST_P(TableTest, EveryCellIsTheOneKnown) {
  const Row& row = GetParam();
  for (std::size_t i = 0; i < 5; ++i) {
    if (row.idle[i] == kAny) {
      continue;
    }
    const auto [ranks, micro_batches] = kShapes[i];
    PipelineShape shape = row.options;
    shape.num_ranks = ranks;
    shape.num_micro_batches = micro_batches;
    shape.memory_limit *= ranks;  // stated in parts of N
    const Measured found = measure(row.family, shape);
    const std::string where = fmt::format("{} on {} ranks, {} micro-batches, two-stage {}",
                                          row.family, ranks, micro_batches, shape.two_stage);
    EXPECT_NEAR(row.of_a_rank ? found.stage_idle : found.step_idle, row.idle[i], 1e-9) << where;
    const double peak = row.peak[ranks == 4 ? 0 : 1];
    if (peak == kAny) {
      EXPECT_EQ(found.peak, micro_batches) << where;
    } else if (micro_batches > ranks) {
      EXPECT_NEAR(found.peak, peak, 1e-9) << where;
    } else {
      EXPECT_LE(found.peak, peak) << where;
    }
  }
}

constexpr PipelineShape kOneBackward = {.two_stage = false};

// V-Half on 4 ranks with 4 micro-batches was known as 5: the order that is found here needs no more
// memory and is valid, so 5 is not the least.
INSTANTIATE_TEST_SUITE_P(
    Families,
    TableTest,
    ::testing::Values(
        Row{"gpipe", kOneBackward, {9, 9, 21, 21, 21}, {kAny, kAny}},
        Row{"1f1b", kOneBackward, {9, 9, 21, 21, 21}, {4, 8}},
        Row{"interleaved-1f1b", kOneBackward, {4.5, 4.5, 10.5, 10.5, 10.5}, {5.5, 11.5}},
        Row{"interleaved-1f1b",
            {.two_stage = false, .stages_per_rank = 4},
            {2.25, 2.25, 5.25, 5.25, 5.25},
            {4.75, 9.75}},
        Row{"looped-bfs", kOneBackward, {4.5, 4.5, 10.5, 10.5, 10.5}, {kAny, kAny}},
        Row{"zb-h1", {}, {3, 3, 7, 7, 7}, {4, 8}},
        Row{"zb-h2", {}, {3, 3, 7, 7, 7}, {7, 15}},
        Row{"zb-h2", {}, {3, 0, 7, 0, 0}, {7, 15}, true},
        Row{"zb-auto", {.memory_limit = 2}, {3, 3, 7, 7, 7}, {8, 16}},
        Row{"zb-auto", {.memory_limit = 2}, {3, 0, 7, 0, 0}, {8, 16}, true},
        Row{"zb-v", {}, {1.5, 1.5, 3.5, 3.5, 3.5}, {4, 8}},
        Row{"zb-v", {}, {1.5, 0, 3.5, 0, 0}, {4, 8}, true},
        Row{"v-half", {}, {2.5, 2.5, 8.5, 8.5, 8.5}, {3, 5}},
        Row{"v-min", {}, {5.5, 5.5, 13.5, 13.5, 13.5}, {2, 4}},
        Row{"dualpipe-v", {}, {kAny, 1.5, kAny, 3.5, 3.5}, {4.5, 8.5}},
        Row{"dualpipe", {}, {kAny, 1, kAny, 3, 3}, {5, 9}},
        Row{"bitpipe", kOneBackward, {2, 3, 6, 9, 12}, {4, 8}},
        Row{"bitpipe-split", {}, {0.5, 0.5, 1.5, 1.5, 1.5}, {4, 8}}));

TEST(PublishedTest, ZbHTwoNeedsLessThanTwiceTheMemory) {
  EXPECT_EQ(
      measure("zb-auto", {.num_ranks = 8, .num_micro_batches = 16, .memory_limit = 15}).stage_idle,
      0.0);
}

// The rates that the zero-bubble paper prints for its profile, 24 micro-batches.
TEST(PublishedTest, RatesOfZeroBubblesProfile) {
  const auto rates = [](const char* family, PipelineShape shape) {
    shape.num_ranks = 8;
    shape.num_micro_batches = 24;
    shape.times = kProfile;
    return measure(family, shape, kProfile);
  };
  EXPECT_NEAR(rates("1f1b", kOneBackward).step_rate(), 0.2431, 5e-5);
  EXPECT_NEAR(rates("zb-h1", {}).step_rate(), 0.1585, 5e-5);
  EXPECT_NEAR(rates("zb-h2", {}).step_rate(), 0.1083, 5e-5);
  EXPECT_NEAR(rates("zb-auto", {.memory_limit = 8}).step_rate(), 0.1585, 5e-5);
  EXPECT_NEAR(rates("zb-auto", {.memory_limit = 16, .released_at_input = 0.625}).stage_rate(),
              0.0433, 5e-5);
  // Simulated from the authors' orders, to as many digits as are known.
  EXPECT_NEAR(rates("zb-auto", {.memory_limit = 16}).step_rate(), 0.108, 5e-4);
  EXPECT_NEAR(rates("zb-auto", {.memory_limit = 16}).stage_rate(), 0.102, 5e-4);
  EXPECT_NEAR(rates("zb-v", {}).step_rate(), 0.072, 5e-4);
  EXPECT_NEAR(rates("zb-v", {}).stage_rate(), 0.070, 5e-4);
  EXPECT_NEAR(rates("dualpipe", {}).step_rate(), 0.077, 5e-4);
  EXPECT_NEAR(rates("dualpipe-v", {}).step_rate(), 0.092, 5e-4);
  EXPECT_NEAR(rates("bitpipe", kOneBackward).step_rate(), 0.146, 5e-4);
  EXPECT_NEAR(rates("bitpipe-split", {}).step_rate(), 0.057, 5e-4);
  const PipelineShape four = {.two_stage = false, .stages_per_rank = 4};
  EXPECT_NEAR(rates("interleaved-1f1b", kOneBackward).step_rate(), 0.140, 5e-4);
  EXPECT_NEAR(rates("interleaved-1f1b", four).step_rate(), 0.096, 5e-4);
}

TEST(PublishedTest, IdleTimeWithoutUpdatesInCommonIsThatOfTheStep) {
  for (const char* name : {"gpipe", "1f1b"}) {
    const Measured found =
        measure(name, {.num_ranks = 8, .num_micro_batches = 16, .two_stage = false});
    EXPECT_EQ(found.stage_idle, found.step_idle) << name;
  }
}

// Rate of the step for F = I = W = 1 and a hop of 0, 0.2 and 0.5, on 8 ranks with 16 micro-batches.
TEST(PublishedTest, SensitivityToLatency) {
  const auto expect_rates = [](const char* family, PipelineShape shape,
                               const std::vector<double>& expected) {
    shape.num_ranks = 8;
    shape.num_micro_batches = 16;
    const double latencies[3] = {0.0, 0.2, 0.5};
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(measure(family, shape, {.latency = latencies[i]}).step_rate(), expected[i], 5e-4)
          << family << ", latency " << latencies[i];
    }
  };
  expect_rates("1f1b", kOneBackward, {0.304, 0.377, 0.461});
  expect_rates("interleaved-1f1b", {.two_stage = false, .stages_per_rank = 4},
               {0.099, 0.269, 0.478});
  expect_rates("zb-h1", {}, {0.127, 0.208, 0.304});
  expect_rates("dualpipe", {}, {0.059, 0.118, 0.200});
  expect_rates("bitpipe", kOneBackward, {0.158, 0.304, 0.448});
}

// What a V costs within k half-chunks of memory: three slots for one half-chunk.
TEST(PublishedTest, FrontierOfTheVFamily) {
  for (const int ranks : {4, 6, 8}) {
    for (int k = ranks; k <= 2 * ranks; ++k) {
      const Measured found = measure(
          "v-search",
          {.num_ranks = ranks, .num_micro_batches = 2 * ranks + 2, .memory_limit = k / 2.0});
      const int slots = k == 2 * ranks ? 0 : k == 2 * ranks - 1 ? 3 : 6 * ranks - 1 - 3 * k;
      EXPECT_EQ(2 * found.stage_idle, slots) << ranks << " ranks, limit " << k;
      EXPECT_LE(2 * found.peak, k);
    }
  }
}

TEST(PublishedTest, TheSearchIsNeverWorseThanThePatternWithinItsMemory) {
  for (const int ranks : {3, 5, 7, 8, 10, 13}) {
    const PipelineShape shape = {.num_ranks = ranks, .num_micro_batches = 2 * ranks};
    PipelineShape limited = shape;
    limited.memory_limit = v_min_memory(ranks);
    EXPECT_LE(measure("v-search", limited).stage_idle, measure("v-min", shape).stage_idle) << ranks;
    EXPECT_LE(measure("v-search", limited).peak, v_min_memory(ranks)) << ranks;
  }
}

// In half-slots, F of one stage; 41 and 89 are known from searched orders of the same memory.
TEST(PublishedTest, VMinNeedsNoGapAtItsEndsWhereThreeDividesTheRanks) {
  const auto half_slots = [](int ranks, int micro_batches) {
    const Measured found =
        measure("v-min", {.num_ranks = ranks, .num_micro_batches = micro_batches});
    EXPECT_LE(found.peak, v_min_memory(ranks)) << ranks << " " << micro_batches;
    return 2 * (found.work + found.step_idle);
  };
  EXPECT_EQ(half_slots(3, 6), 41);
  EXPECT_EQ(half_slots(6, 12), 89);
  for (const int n : {3, 6, 9, 12}) {
    EXPECT_EQ(half_slots(n, 1), 4 * n + 1);
    for (const int m : {2, 3, 5, 6, 7, 12, 13, 24}) {
      EXPECT_EQ(half_slots(n, m), 6 * m + 4 * n - 7) << n << " " << m;
    }
  }
}

// Two or more stages a rank, 8 ranks, 24 micro-batches: from the code of PipeOffload's authors.
TEST(PublishedTest, GroupedInterleaving) {
  const double idle[3][3] = {{7, 8, 9}, {14 / 3.0, 6, 22 / 3.0}, {3.5, 5, 6.5}};
  const double peak[3][3] = {{8, 7, 6}, {8, 20 / 3.0, 16 / 3.0}, {8, 6.5, 5}};
  for (int v = 2; v <= 4; ++v) {
    for (int column = 0; column < 3; ++column) {
      const Measured found = measure("gis", {.num_ranks = 8,
                                             .num_micro_batches = 24,
                                             .stages_per_rank = v,
                                             .group_size = 8 - 2 * column});
      EXPECT_NEAR(found.step_idle, idle[v - 2][column], 1e-9);
      EXPECT_NEAR(found.peak, peak[v - 2][column], 1e-9);
    }
  }
  for (const auto& [v, step_idle] : {std::pair{2, 10.5}, {4, 5.25}}) {
    const Measured found = measure(
        "gis", {.num_ranks = 8, .num_micro_batches = 24, .two_stage = false, .stages_per_rank = v});
    EXPECT_NEAR(found.step_idle, step_idle, 1e-9);
    EXPECT_NEAR(found.peak, 8, 1e-9);
  }
}

// (D-2)/2 where the backward takes as long as the forward, (k+1)(D/2-1) where twice as long, at
// M = kD; the lowest rank holds 3.5, 5 and 6.5.
TEST(PublishedTest, BitPipe) {
  for (const auto& [ranks, least_peak] : {std::pair{4, 3.5}, {6, 5.0}, {8, 6.5}}) {
    for (int k = 1; k <= 4; ++k) {
      const PipelineShape shape = {
          .num_ranks = ranks, .num_micro_batches = k * ranks, .two_stage = false};
      const Measured equal = measure("bitpipe", shape, {1.0, 0.5, 0.5, 0.0});
      EXPECT_EQ(equal.step_idle, (ranks - 2) / 2);
      EXPECT_EQ(measure("bitpipe", shape).step_idle, (k + 1) * (ranks / 2 - 1));
      EXPECT_EQ(equal.least_peak, least_peak);
      EXPECT_EQ(equal.peak, ranks);
    }
  }
}

TEST(PublishedTest, Chimera) {
  for (const int ranks : {4, 6, 8}) {
    const PipelineShape shape = {
        .num_ranks = ranks, .num_micro_batches = ranks, .two_stage = false, .times = {1, 0.5, 0.5}};
    EXPECT_EQ(measure("chimera", shape, shape.times).step_idle, ranks - 2);
  }
  EXPECT_EQ(
      measure("chimera", {.num_ranks = 4, .num_micro_batches = 4, .two_stage = false}).step_idle,
      4);
  EXPECT_EQ(
      measure("chimera", {.num_ranks = 8, .num_micro_batches = 8, .two_stage = false}).step_idle,
      12);
}

// 4 ranks, 4 micro-batches, backward of twice the forward; .213 was known for two waves.
TEST(PublishedTest, Hanayo) {
  const PipelineShape one = {.num_ranks = 4, .num_micro_batches = 4, .two_stage = false};
  PipelineShape two = one;
  two.stages_per_rank = 4;
  EXPECT_NEAR(measure("hanayo", one).step_rate(), 0.333, 5e-4);
  EXPECT_LE(measure("hanayo", two).step_rate(), 0.213);
}

// The controllable-memory paper: about 2/3 of 1f1b's memory at its bubble, without splitting B.
TEST(PublishedTest, OneForwardOneBackwardV) {
  for (const int ranks : {4, 6, 8}) {
    const Measured found =
        measure("1f1b-v", {.num_ranks = ranks, .num_micro_batches = 3 * ranks, .two_stage = false});
    EXPECT_LE(found.step_idle, 3 * (ranks - 1));
    EXPECT_LE(found.peak, 2 * ranks / 3.0 + 1);
  }
}

// Bubble 1/3 of 1f1b's with B, at equal peak memory.
TEST(PublishedTest, ZeroBubbleHOneIsAThird) {
  for (int ranks = 2; ranks <= 16; ++ranks) {
    const Measured found = measure("zb-h1", {.num_ranks = ranks, .num_micro_batches = 2 * ranks});
    EXPECT_EQ(found.step_idle, ranks - 1);
    EXPECT_EQ(found.peak, ranks);
  }
}

// Closed forms that the table of families states, with the split backward.
TEST(PublishedTest, IdleTimesInClosedForm) {
  for (const int n : {4, 6, 8, 10}) {
    for (const int m : {n, 2 * n, 3 * n}) {
      const auto idle = [&](const char* family) {
        return measure(family, {.num_ranks = n, .num_micro_batches = m}).step_idle;
      };
      EXPECT_EQ(idle("chimera"), n / 2 - 1) << n << " " << m;
      EXPECT_EQ(idle("bitpipe"), n / 2 - 1) << n << " " << m;
      EXPECT_EQ(idle("bitpipe-split"), (n - 2) / 4.0) << n << " " << m;
      EXPECT_EQ(idle("hanayo"), (n - 1) / 2.0) << n << " " << m;
      EXPECT_EQ(idle("zb-v"), (n - 1) / 2.0) << n << " " << m;
      EXPECT_EQ(idle("interleaved-1f1b"), n - 1) << n << " " << m;
      EXPECT_EQ(idle("looped-bfs"), n - 1) << n << " " << m;
      EXPECT_EQ(idle("v-min"), 2 * n - (n % 3 == 0 ? 3.5 : 2.5)) << n << " " << m;
      EXPECT_EQ(idle("v-half"), (3 * n - 7) / 2.0) << n << " " << m;
      EXPECT_LT(idle("1f1b-v"), n - 1) << n << " " << m;
    }
  }
}

// This project's own: the last rank cannot begin before (N-1)/v, so that no order with one replica
// of the weights has less; at N = M = 4 and 9 stages a rank the step is 12.333.
TEST(PublishedTest, ManyChunksReachTheLeastThatOneCopyAllows) {
  for (const char* family : {"zb-looped", "zb-wave"}) {
    for (const int ranks : {2, 4, 8}) {
      for (const int stages : {2, 4, 9}) {
        const Measured found = measure(
            family, {.num_ranks = ranks, .num_micro_batches = ranks, .stages_per_rank = stages});
        EXPECT_NEAR(found.step_idle, (ranks - 1.0) / stages, 1e-9)
            << family << " " << ranks << " " << stages;
        EXPECT_LE(found.peak, ranks);
      }
    }
    const Measured nine =
        measure(family, {.num_ranks = 4, .num_micro_batches = 4, .stages_per_rank = 9});
    EXPECT_LE(nine.step_idle + nine.work, 12.35);
  }
}

}  // namespace
}  // namespace halfback
