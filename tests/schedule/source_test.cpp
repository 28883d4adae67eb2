#include "halfback/schedule/source.h"

#include "halfback/schedule/families.h"
#include "halfback/schedule/passes.h"
#include "halfback/schedule/queues.h"
#include "halfback/schedule/validate.h"
#include "tests/support/schedules.h"
#include "tests/support/temporary_directory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace halfback {
namespace {

using testing::error_of;
using testing::has_text;

class SourceTest : public ::testing::Test {
 protected:
  SourceTest() { std::ofstream(path_) << "0F0,0I0,0W0\n1F0,1I0,1W0\n"; }

  std::string error(const ShapeRequest& request) const {
    return error_of([&] { load_or_build(path_, request); });
  }

  static const FamilyParameter& parameter(const std::string& option) {
    return *std::ranges::find(family_parameters(), option, &FamilyParameter::option);
  }

  TemporaryDirectory directory_;
  std::string path_ = (directory_ / "halfback_source_test.csv").string();
};

TEST_F(SourceTest, FamilyWithItsDefaults) {
  EXPECT_EQ(load_or_build("1f1b-2", {}), testing::family("1f1b-2", 4));
  EXPECT_EQ(load_or_build("naive", {.num_ranks = 3}).num_micro_batches, 1);
  EXPECT_FALSE(is_two_stage(load_or_build("gpipe", {.two_stage = false})));
}

TEST_F(SourceTest, ASchemeIsAFamily) {
  EXPECT_EQ(load_or_build("greedy", {}), load_or_build("local-greedy", {}));
  EXPECT_EQ(load_or_build("backprop", {}), load_or_build("1f1b", {}));
  for (const std::string& scheme : scheme_names()) {
    EXPECT_TRUE(is_family(scheme)) << scheme;
  }
  EXPECT_TRUE(has_text(error_of([] { load_or_build("gredy", {}); }), "did you mean greedy?"));
}

TEST_F(SourceTest, FileWithOrWithoutItsShape) {
  EXPECT_EQ(load_or_build(path_, {}).name, "halfback_source_test");
  EXPECT_EQ(error({.num_ranks = 2, .num_micro_batches = 1, .two_stage = true}), "no error");
}

TEST_F(SourceTest, ContradictionsAreNamed) {
  EXPECT_TRUE(has_text(error({.num_ranks = 3}), "has 2 ranks, but 3 were asked for"));
  EXPECT_TRUE(has_text(error({.num_micro_batches = 4}), "has 1 micro-batches, but 4"));
  EXPECT_TRUE(has_text(error({.two_stage = false}), "split backward, but --two-stage off"));
}

TEST_F(SourceTest, ParametersOfFamiliesAreRefusedOneByOneForAFile) {
  for (const FamilyParameter& row : family_parameters()) {
    EXPECT_TRUE(has_text(error({.parameters = {{&row, 0}}}), "leave " + row.option + " out"));
  }
  EXPECT_TRUE(has_text(
      error({.parameters = {{&parameter("--window"), 2}, {&parameter("--group-size"), 1}}}),
      "stages, order, losses and updates; leave --group-size, --window out"));
}

TEST_F(SourceTest, AZeroIsGiven) {
  const auto text = [](const std::string& family, const FamilyParameter& row) {
    return error_of([&] { load_or_build(family, {.parameters = {{&row, 0}}}); });
  };
  EXPECT_EQ(text("gis", parameter("--group-size")),
            "gis: --group-size 0 on 4 ranks; it is 1 or more");
  EXPECT_EQ(text("1f1b", parameter("--released-at-input")),
            "1f1b: it takes no --released-at-input; leave the option out");
  EXPECT_EQ(text("zb-auto", parameter("--released-at-input")), "no error");
}

TEST_F(SourceTest, PipelinesOfAFamilyOrAFile) {
  const Schedule family = load_or_build("gpipe", {.num_ranks = 2, .num_pipelines = 3});
  EXPECT_EQ(family, data_parallel(testing::family("gpipe", 2), 3));
  const Schedule file = load_or_build(path_, {.num_ranks = 2, .num_pipelines = 2});
  EXPECT_EQ(file.num_ranks(), 4);
  EXPECT_EQ(testing::list_text(file, 3), "1F1 1I1 1W1 1REDUCE_GRAD");
  const Schedule local = load_or_build(
      "local-last",
      {.num_ranks = 2, .parameters = {{&parameter("--stage-updates"), 0}}, .num_pipelines = 2});
  EXPECT_EQ(testing::list_text(local, 2), "0F2 0F3");
  EXPECT_EQ(testing::list_text(local, 3), "1F2 1I2 1W2 1F3 1I3 1W3 1REDUCE_GRAD");
}

TEST_F(SourceTest, AnyFamilyOfBackpropTakesLosses) {
  const Schedule greedy = load_or_build(
      "1f1b", {.num_ranks = 2, .num_micro_batches = 1, .losses = "0:0,1:1", .weight_rule = "mean"});
  EXPECT_EQ(testing::list_text(greedy, 0), "0F0 0I0 0W0 0U");
  EXPECT_EQ(testing::list_text(greedy, 1), "1F0 1I0 1W0 1U");
  EXPECT_EQ(greedy.losses, Losses(2, {{0, 0}, {1, 1}}, WeightRule::Mean));
  const Schedule last = load_or_build("gpipe", {.num_ranks = 2,
                                                .num_micro_batches = 1,
                                                .parameters = {{&parameter("--stage-updates"), 0}},
                                                .losses = "1:1"});
  EXPECT_EQ(testing::list_text(last, 0), "0F0");
  EXPECT_EQ(testing::list_text(last, 1), "1F0 1I0 1W0");
  const Schedule mean = load_or_build("local-overlapping", {.weight_rule = "mean"});
  EXPECT_EQ(mean.losses.weight_rule(), WeightRule::Mean);
  for (const Family& family : families()) {
    for (const char* losses : {"0:0,1:1,2:2,3:3", "1:0,3:2", "1:0,2:1,3:2", "0:none,3:0", "3:3",
                               "0:0,1:0,2:0,3:0", "2:none,3:1"}) {
      const ShapeRequest request{.num_ranks = 4, .losses = losses};
      if (!build_schedule(family.name,
                          {.num_ranks = 4, .num_micro_batches = family.default_micro_batches(4)})
               .losses.is_backprop()) {
        EXPECT_TRUE(has_text(error_of([&] { load_or_build(family.name, request); }),
                             "leave --losses out, or choose a family of backprop"));
      } else if (load_or_build(family.name, {.num_ranks = 4}).num_stages() == 4) {
        const Schedule schedule = load_or_build(family.name, request);
        EXPECT_EQ(error_of([&] { validate(schedule); }), "no error") << family.name << losses;
        EXPECT_EQ(has_updates(schedule), schedule.placement.num_replicas() == 1) << family.name;
      }
    }
  }
}

TEST_F(SourceTest, RefusesLossesThatCannotBe) {
  const auto text = [](const ShapeRequest& request) {
    return error_of([&] { load_or_build("1f1b", request); });
  };
  EXPECT_EQ(text({.losses = "3"}),
            "--losses: '3' is not a list of losses; expected the stage of each loss and the lowest "
            "stage that its gradient reaches, or none, as in 0:none,1:0,2:1");
  EXPECT_EQ(text({.losses = "1:0"}), "--losses: no loss on stage 3; the last stage has one");
  EXPECT_TRUE(has_text(text({.losses = "3:0", .weight_rule = "man"}),
                       "--loss-weights: 'man' is not known"));
  EXPECT_TRUE(has_text(text({.losses = "3:0", .weight_rule = "man"}), "did you mean mean"));
  EXPECT_TRUE(has_text(text({.weight_rule = "mean"}),
                       "1f1b: one gradient passes each stage, so --loss-weights has nothing"));
  EXPECT_TRUE(has_text(error({.losses = "1:0", .weight_rule = "sum"}),
                       "losses and updates; leave --losses, --loss-weights out"));
}

TEST_F(SourceTest, BlocksHaveQueues) {
  const auto text = [](const std::string& name, const std::string& queues) {
    return error_of([&] { load_or_build(name, {.queues = queues}); });
  };
  EXPECT_EQ(load_or_build("greedy", {.num_micro_batches = 4, .queues = "1,0,2"}),
            with_queues(load_or_build("greedy", {.num_micro_batches = 4}), {1, 0, 2}));
  for (const char* bad : {"", "two", "1,,2", "-1", "1.5", "99999999999999999999"}) {
    EXPECT_TRUE(has_text(text("greedy", bad), "is not a list of lengths; expected micro-batches"))
        << bad;
  }
  EXPECT_TRUE(has_text(text("greedy", "1,2"), "2 queues for 4 blocks; give 3"));
  EXPECT_TRUE(has_text(text("1f1b", "1"), "there is one block and no place for a queue"));
  EXPECT_TRUE(has_text(error({.queues = "1"}), "losses and updates; leave --queue out"));
}

TEST_F(SourceTest, FileIsValidated) {
  std::ofstream(path_) << "0F0,0W0,0I0\n";
  EXPECT_TRUE(has_text(error({}), path_ + ": rank 0, position 1: 0W0 comes before 0I0"));
}

TEST_F(SourceTest, MissingFileAndUnknownName) {
  EXPECT_TRUE(has_text(error_of([] { load_or_build("no.csv", {}); }), "no.csv: cannot open"));
  EXPECT_TRUE(has_text(error_of([] { load_or_build("gpip", {}); }), "did you mean gpipe?"));
}

}  // namespace
}  // namespace halfback
