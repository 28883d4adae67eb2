#include "halfback/schedule/families.h"

#include "halfback/schedule/communication.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/validate.h"
#include "halfback/simulate/simulator.h"
#include "tests/support/schedules.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;

// Spells the orders of the paper's table as text: each part is repeated, and every letter takes the
// next micro-batch of its kind.
std::string spell(int rank, const std::vector<std::pair<int, std::string>>& parts) {
  std::string text;
  int next[3] = {0, 0, 0};
  for (const auto& [times, kinds] : parts) {
    for (int i = 0; i < times; ++i) {
      for (const char kind : kinds) {
        int& micro_batch = next[kind == 'F' ? 0 : kind == 'W' ? 1 : 2];
        text += fmt::format("{}{}{}{}", text.empty() ? "" : " ", rank, kind, micro_batch++);
      }
    }
  }
  return text;
}

void expect_list(const Schedule& schedule,
                 int rank,
                 const std::vector<std::pair<int, std::string>>& parts) {
  ASSERT_EQ(testing::list_text(schedule, rank), spell(rank, parts)) << schedule.name;
}

class OrderTest : public ::testing::TestWithParam<int> {};

TEST_P(OrderTest, EqualsThePaperWithTwoStages) {
  const int n = GetParam();
  for (int r = 0; r < n; ++r) {
    expect_list(testing::family("naive", n), r, {{1, "FIW"}});
    expect_list(testing::family("gpipe", n), r, {{n, "F"}, {n, "I"}, {n, "W"}});
    expect_list(testing::family("1f1b-1", n), r,
                {{n - r, "F"}, {r, "IF"}, {n - r, "IW"}, {r, "W"}});
    expect_list(testing::family("1f1b-2", n), r,
                {{n - r, "F"}, {n + r, "IF"}, {n - r, "IW"}, {n + r, "W"}});
    expect_list(testing::family("1f1b-2-flush", n), r,
                {{n - r, "F"},
                 {n - 1, "IF"},
                 {1, "I"},
                 {n, "W"},
                 {1, "F"},
                 {r, "IF"},
                 {n - r, "IW"},
                 {r, "W"}});
    expect_list(testing::family("1f1b-2-capped", n), r,
                {{n - r, "F"}, {r, "IF"}, {n, "IWF"}, {n - r, "IW"}, {r, "W"}});
  }
}

TEST_P(OrderTest, EqualsThePaperWithOneStage) {
  const int n = GetParam();
  for (int r = 0; r < n; ++r) {
    expect_list(testing::family("naive", n, false), r, {{1, "FB"}});
    expect_list(testing::family("gpipe", n, false), r, {{n, "F"}, {n, "B"}});
    expect_list(testing::family("1f1b-1", n, false), r, {{n - r, "F"}, {r, "BF"}, {n - r, "B"}});
    expect_list(testing::family("1f1b-2", n, false), r,
                {{n - r, "F"}, {n + r, "BF"}, {n - r, "B"}});
  }
}

TEST_P(OrderTest, OneForwardOneBackwardGeneralizesBothVariants) {
  const int n = GetParam();
  for (const bool two_stage : {false, true}) {
    const auto general = [&](int m) {
      return build_schedule("1f1b",
                            {.num_ranks = n, .num_micro_batches = m, .two_stage = two_stage});
    };
    EXPECT_EQ(general(n).ranks, testing::family("1f1b-1", n, two_stage).ranks);
    EXPECT_EQ(general(2 * n).ranks, testing::family("1f1b-2", n, two_stage).ranks);
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, OrderTest, ::testing::Range(2, 17));

// Ranks whose actions all take the same time meet without a wait.
void expect_sound_without_buffers(const Schedule& schedule) {
  const Schedule lowered = add_communication(schedule, kRendezvous);
  for (const ChannelRule rule : {kRendezvous, kNcclPair}) {
    validate(lowered, {.channel = rule});
  }
  const bool all_take_the_same =
      std::none_of(schedule.ranks.begin(), schedule.ranks.end(), [](const auto& list) {
        return std::any_of(list.begin(), list.end(), [](const Action& action) {
          return action.kind == ActionKind::Backward;
        });
      });
  if (all_take_the_same && has_messages(lowered)) {
    ASSERT_EQ(simulate(lowered, {}, {.channel = kRendezvous}).makespan,
              simulate(schedule, {}).makespan);
  }
}

// Verifies, runs through the simulator to its end, with messages too, at the same times, and holds
// no more than it declares.
void expect_sound(const Family& family, const PipelineShape& shape) {
  const Schedule schedule = family.build(shape);
  const Schedule lowered = add_communication(schedule);
  validate(lowered);
  if (family.messages == "2(N-1)" && family.replicas == 1) {
    validate(lowered, {.channel = {1}});  // see add_communication()
  }
  ASSERT_TRUE(weight_gradients_ascend(schedule));
  // A stage with several gradients has no B.
  bool has_several = false;
  for (int stage = 0; stage < schedule.num_stages(); ++stage) {
    has_several = has_several || schedule.losses.names_losses(stage);
  }
  ASSERT_EQ(is_two_stage(schedule), shape.two_stage || has_several);
  ASSERT_EQ(schedule.placement.num_replicas(), family.replicas);
  ASSERT_EQ(remove_communication(lowered), schedule);
  const CostModel costs{.latency = 0.25};
  ASSERT_EQ(simulate(lowered, costs).makespan, simulate(schedule, costs).makespan);
  if (shape.num_ranks <= 8) {
    expect_sound_without_buffers(schedule);
  }
  const double declared = family.peak(shape);
  for (const double peak : activation_peaks(schedule)) {
    ASSERT_LE(peak, declared + 1e-9);
  }
}

// Side by side, pipelines take as long as one, and free reductions add nothing.
void expect_sound_side_by_side(const Family& family, PipelineShape shape) {
  shape.stage_updates = false;
  const Schedule one = family.build(shape);
  const CostModel costs{.latency = 0.25};
  const double makespan = simulate(one, costs).makespan;
  for (const int pipelines : {1, 2, 3}) {
    const Schedule schedule = data_parallel(one, pipelines);
    const Schedule lowered = add_communication(schedule);
    validate(lowered);
    ASSERT_EQ(schedule.losses, one.losses);
    ASSERT_EQ(has_reductions(schedule), pipelines * family.replicas > 1);
    ASSERT_EQ(schedule.placement.num_replicas(), pipelines * family.replicas);
    ASSERT_TRUE(weight_gradients_ascend(schedule));
    ASSERT_TRUE(std::is_sorted(schedule.placement.replica_of_micro_batch.begin(),
                               schedule.placement.replica_of_micro_batch.end()));
    ASSERT_EQ(parse_schedule(to_csv(lowered), "sweep"), lowered);
    ASSERT_EQ(simulate(lowered, costs).makespan, makespan);
    ASSERT_EQ(smallest_channel_capacity(schedule), smallest_channel_capacity(one));
  }
}

class SweepTest : public ::testing::TestWithParam<std::string> {};

TEST_P(SweepTest, IsSoundOnOneToSixteenRanksForEveryShapeThatItAdmits) {
  const Family& family = halfback::family(GetParam());
  for (int n = 1; n <= 16; ++n) {
    int num_admitted = 0;
    for (const int m : {1, 2, n - 1, n, 2 * n, 3 * n + 1}) {
      for (const bool two_stage : {false, true}) {
        SCOPED_TRACE(fmt::format("{} ranks, {} micro-batches, two-stage {}", n, m, two_stage));
        try {
          const PipelineShape shape{.num_ranks = n, .num_micro_batches = m, .two_stage = two_stage};
          expect_sound(family, shape);
          if (n <= 6) {
            expect_sound_side_by_side(family, shape);
          }
          ++num_admitted;
        } catch (const ConfigError&) {
        }
        if (HasFatalFailure()) {
          return;
        }
      }
    }
    const bool needs_more = family.replicas == 2 && (n % 2 == 1 || n < 4);
    EXPECT_TRUE(num_admitted > 0 || needs_more) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Families,
                         SweepTest,
                         ::testing::ValuesIn(family_names()),
                         [](const auto& entry) {
                           std::string name = entry.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(FamiliesTest, FewerMicroBatchesThanRanksWarmUpWithAll) {
  const Schedule schedule =
      build_schedule("1f1b", {.num_ranks = 4, .num_micro_batches = 2, .two_stage = true});
  EXPECT_EQ(testing::list_text(schedule, 0), "0F0 0F1 0I0 0W0 0I1 0W1");
  EXPECT_EQ(testing::list_text(schedule, 3), "3F0 3I0 3F1 3I1 3W0 3W1");
}

TEST(FamiliesTest, UnknownNameGetsASuggestion) {
  const std::string text = error_of([] { build_schedule("1f1b1", {.num_ranks = 2}); });
  EXPECT_TRUE(has_text(text, "unknown family '1f1b1' (did you mean 1f1b")) << text;
}

TEST(FamiliesTest, ShapesThatAFamilyDoesNotAdmitAreNamed) {
  const auto text = [](const std::string& name, const PipelineShape& shape) {
    return error_of([&] { build_schedule(name, shape); });
  };
  EXPECT_TRUE(has_text(text("naive", {4, 4, true}), "use --micro-batches 1"));
  EXPECT_TRUE(has_text(text("1f1b-1", {4, 3, true}), "use --micro-batches 4"));
  EXPECT_TRUE(has_text(text("1f1b-2", {4, 4, true}), "use --micro-batches 8"));
  EXPECT_TRUE(has_text(text("1f1b-2-flush", {4, 8, false}), "--two-stage on"));
  EXPECT_TRUE(has_text(text("1f1b-2-capped", {4, 8, false}), "--two-stage on"));
  EXPECT_EQ(text("gpipe", {0, 4, true}),
            "gpipe: 0 ranks and 4 micro-batches; both must be at least 1");
  EXPECT_TRUE(has_text(text("gpipe", {4, -1, true}), "at least 1"));
  EXPECT_TRUE(has_text(text("gpipe", {1 << 20, 1 << 20, true}),
                       " micro-batches are too many; at most 1048576 of each"));
  EXPECT_TRUE(has_text(text("1f1b-2", {1 << 30, 1 << 30, true}), "1f1b-2"));
  EXPECT_EQ(text("1f1b-1", {4, 3, true}),
            "1f1b-1: 3 micro-batches on 4 ranks; it needs as many as ranks (use --micro-batches 4, "
            "or 1f1b)");
  EXPECT_EQ(text("bitpipe", {3, 4, true}),
            "bitpipe: 3 ranks; the number must be even and at least 4");
  EXPECT_EQ(text("bitpipe", {4, 6, true}),
            "bitpipe: 6 micro-batches on 4 ranks; they must be a multiple of the ranks (use "
            "--micro-batches 4)");
  EXPECT_EQ(text("chimera", {3, 4, true}),
            "chimera: 3 ranks and 4 micro-batches; both must be even");
  EXPECT_EQ(
      text("dualpipe", {4, 6, true}),
      "dualpipe: 4 ranks and 6 micro-batches; both must be even, and at least 8 micro-batches "
      "(use --micro-batches 8)");
  EXPECT_EQ(
      text("dualpipe-v", {4, 6, true}),
      "dualpipe-v: 6 micro-batches on 4 ranks; at least 8 are needed (use --micro-batches 8)");
  EXPECT_EQ(
      text("hanayo", {.num_ranks = 4, .num_micro_batches = 4, .stages_per_rank = 3}),
      "hanayo: 3 stages per rank; a wave has two, so the number must be even (--stages-per-rank)");
  EXPECT_EQ(text("hanayo", {.num_ranks = 4, .num_micro_batches = 4, .stages_per_rank = -2}),
            "hanayo: --stages-per-rank -2 on 4 ranks; it is 1 or more");
  EXPECT_EQ(
      text("zb-v", {.num_ranks = 4, .num_micro_batches = 4, .times = {.forward = 0}}),
      "times: forward 0, input gradient 1, weight gradient 1, latency 0; the first three must "
      "be above 0, the latency at least 0");
}

}  // namespace
}  // namespace halfback
