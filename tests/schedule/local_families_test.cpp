// Families of training with local updates: whom their stages wait for, and when they are backprop.
#include "halfback/schedule/communication.h"
#include "halfback/schedule/dataflow.h"
#include "halfback/schedule/families.h"
#include "halfback/schedule/validate.h"
#include "halfback/simulate/held_peaks.h"
#include "tests/support/losses_through.h"
#include "tests/support/schedules.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;

// Every size that the local families take on this many ranks.
std::vector<std::pair<std::string, PipelineShape>> local_shapes(int ranks, int micro_batches) {
  std::vector<std::pair<std::string, PipelineShape>> shapes;
  for (const bool two_stage : {false, true}) {
    const PipelineShape plain{
        .num_ranks = ranks, .num_micro_batches = micro_batches, .two_stage = two_stage};
    for (const Family& family : local_families()) {
      const auto* place = std::get_if<int PipelineShape::*>(&family.takes.back().member);
      const int most = place == nullptr ? 1 : ranks;
      for (int size = 1; size <= most; ++size) {
        PipelineShape shape = plain;
        if (place != nullptr) {
          shape.** place = size;
        }
        if (shape.distance < std::max(ranks, 2)) {
          shapes.emplace_back(family.name, shape);
        }
      }
    }
  }
  return shapes;
}

TEST(LocalFamiliesTest, AreSoundInEverySize) {
  for (int ranks = 2; ranks <= 7; ++ranks) {
    for (const int micro_batches : {1, 2, ranks - 1, ranks, 3 * ranks + 1}) {
      for (const auto& [name, shape] : local_shapes(ranks, micro_batches)) {
        SCOPED_TRACE(fmt::format("{}: {} ranks, {} micro-batches, two-stage {}, {} {} {} {}", name,
                                 ranks, micro_batches, shape.two_stage, shape.chunks, shape.window,
                                 shape.distance, shape.trained));
        const Schedule schedule = build_schedule(name, shape);
        const Schedule lowered = add_communication(schedule);
        validate(lowered, {.channel = {1}});
        ASSERT_EQ(remove_communication(lowered), schedule);
        ASSERT_EQ(testing::parse(to_csv(lowered)), lowered);
        ASSERT_TRUE(weight_gradients_ascend(schedule));
        for (const double peak : activation_peaks(schedule)) {
          ASSERT_LE(peak, family(name).peak(shape));
        }
      }
    }
  }
}

// The lists of all ranks.
std::string rows(const Schedule& schedule) {
  const std::string text = to_csv(schedule);
  return text.substr(text.find('\n'));
}

// What each action takes from another stage, for every action in turn.
std::string sources(const Schedule& schedule) {
  std::string all;
  for (const auto& list : schedule.ranks) {
    for (const Action& action : list) {
      all += to_string(action);
      all += takes_from_neighbor(schedule, action)
                 ? "<" + to_string(neighbor_input(schedule, action))
                 : "";
      all += " ";
    }
  }
  return all;
}

TEST(LocalFamiliesTest, AreBackpropAtTheirLargest) {
  for (const bool two_stage : {false, true}) {
    for (const int ranks : {1, 2, 3, 4, 8}) {
      for (const int micro_batches : {1, 3, 8, 17}) {
        const PipelineShape plain{.num_ranks = ranks,
                                  .num_micro_batches = micro_batches,
                                  .two_stage = two_stage,
                                  .stage_updates = true};
        const Schedule backprop = build_schedule(two_stage ? "zb-h1" : "1f1b", plain);
        const auto expect_same = [&](const std::string& name, int PipelineShape::*size, int value) {
          PipelineShape shape = plain;
          shape.*size = value;
          const Schedule local = build_schedule(name, shape);
          EXPECT_EQ(rows(local), rows(backprop)) << name << " " << ranks;
          EXPECT_EQ(sources(local), sources(backprop)) << name << " " << ranks;
          return local.losses.is_backprop();
        };
        EXPECT_TRUE(expect_same("local-chunked", &PipelineShape::chunks, 1));
        EXPECT_TRUE(expect_same("local-overlapping", &PipelineShape::window, ranks));
        EXPECT_TRUE(expect_same("local-last", &PipelineShape::trained, ranks));
        // Of local-interlocking the heads of the lower stages train too, so it is not the same
        // list.
      }
    }
  }
}

TEST(LocalFamiliesTest, WindowsAndChunksOfOneStageAreGreedy) {
  const PipelineShape shape{.num_ranks = 5, .num_micro_batches = 4};
  Schedule greedy = build_schedule("local-greedy", shape);
  for (const auto& [name, size, value] :
       {std::tuple{"local-chunked", &PipelineShape::chunks, 5},
        std::tuple{"local-overlapping", &PipelineShape::window, 1}}) {
    PipelineShape same = shape;
    same.*size = value;
    greedy.name = name;
    EXPECT_EQ(build_schedule(name, same), greedy);
  }
}

TEST(LocalFamiliesTest, LossesAreThoseOfTheSources) {
  const auto losses = [](const std::string& name, const PipelineShape& shape) {
    const Schedule schedule = build_schedule(name, shape);
    return fmt::format("{} {}", losses_text(schedule.losses),
                       to_string(schedule.losses.weight_rule()));
  };
  EXPECT_EQ(losses("local-greedy", {.num_ranks = 4, .num_micro_batches = 1}),
            "0:0,1:1,2:2,3:3 sum");
  EXPECT_EQ(losses("local-chunked", {.num_ranks = 4, .num_micro_batches = 1}), "1:0,3:2 sum");
  EXPECT_EQ(losses("local-chunked", {.num_ranks = 5, .num_micro_batches = 1, .chunks = 3}),
            "0:0,2:1,4:3 sum");
  EXPECT_EQ(losses("local-overlapping", {.num_ranks = 4, .num_micro_batches = 1}),
            "1:0,2:1,3:2 sum");
  EXPECT_EQ(losses("local-interlocking", {.num_ranks = 4, .num_micro_batches = 1}),
            "0:none,1:0,2:1,3:2 furthest");
  EXPECT_EQ(losses("local-interlocking", {.num_ranks = 5, .num_micro_batches = 1, .distance = 2}),
            "0:none,1:none,2:0,3:1,4:2 furthest");
  EXPECT_EQ(losses("local-last", {.num_ranks = 4, .num_micro_batches = 1, .trained = 2}),
            "3:2 sum");
}

// The weights of a stage are trained by the loss that many stages above it, or by the last.
TEST(LocalFamiliesTest, InterlockingTrainsByTheLossAtItsDistance) {
  for (int ranks = 2; ranks <= 6; ++ranks) {
    for (int distance = 1; distance < ranks; ++distance) {
      const Schedule schedule = build_schedule(
          "local-interlocking", {.num_ranks = ranks, .num_micro_batches = 1, .distance = distance});
      for (int stage = 0; stage < ranks; ++stage) {
        EXPECT_EQ(testing::losses_through(schedule.losses, ranks, stage).back(),
                  std::min(stage + distance, ranks - 1));
      }
    }
  }
}

TEST(LocalFamiliesTest, OrdersAsDrawn) {
  const auto list = [](const std::string& name, int rank, const PipelineShape& shape) {
    return testing::list_text(build_schedule(name, shape), rank);
  };
  const PipelineShape shape{.num_ranks = 3, .num_micro_batches = 2};
  EXPECT_EQ(list("local-greedy", 1, shape), "1F0 1I0 1W0 1F1 1I1 1W1 1U");
  EXPECT_EQ(list("local-interlocking", 0, shape), "0F0 0I0@0 0F1 0I1@0 0I0@1 0W0 0I1@1 0W1 0U");
  EXPECT_EQ(list("local-interlocking", 1, shape), "1F0 1I0@1 1F1 1I1@1 1I0@2 1W0 1I1@2 1W1 1U");
  EXPECT_EQ(list("local-interlocking", 2, shape), "2F0 2I0 2W0 2F1 2I1 2W1 2U");
  EXPECT_EQ(list("local-last", 0, shape), "0F0 0F1");
  PipelineShape flushed = shape;
  flushed.stage_updates = false;
  EXPECT_EQ(list("local-greedy", 1, flushed), "1F0 1I0 1W0 1F1 1I1 1W1");
}

TEST(LocalFamiliesTest, SizesThatDoNotFitAreNamed) {
  const auto text = [](const std::string& name, const PipelineShape& shape) {
    return error_of([&] { build_schedule(name, shape); });
  };
  EXPECT_EQ(text("local-chunked", {.num_ranks = 4, .num_micro_batches = 1, .chunks = 5}),
            "local-chunked: --chunks 5 on 4 ranks; it is 1 to 4");
  EXPECT_EQ(text("local-interlocking", {.num_ranks = 4, .num_micro_batches = 1, .distance = 4}),
            "local-interlocking: --distance 4 on 4 ranks; it is 1 to 3");
  EXPECT_EQ(text("local-greedy", {.num_ranks = 4, .num_micro_batches = 1, .window = 2}),
            "local-greedy: it takes no --window; leave the option out");
}

}  // namespace
}  // namespace halfback
