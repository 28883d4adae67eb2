// Plans of replay: what is drawn, and what is read, against a reference that looks at the whole
// history at every tick.
#include "halfback/schedule/replay.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

namespace halfback {
namespace {

std::vector<ReplayTick> plan(const ReplayOptions& options, int num_ticks) {
  Replay replay(options);
  std::vector<ReplayTick> ticks;
  for (int i = 0; i < num_ticks; ++i) {
    ticks.push_back(replay.next());
  }
  return ticks;
}

ReplayOptions any_options() {
  ReplayOptions options{.num_stages = *rc::gen::inRange(1, 6),
                        .buffer_size = *rc::gen::inRange(1, 9),
                        .seed = *rc::gen::arbitrary<std::uint64_t>()};
  if (*rc::gen::arbitrary<bool>()) {
    options.slowed = {.stage = *rc::gen::inRange(0, options.num_stages),
                      .factor = *rc::gen::inRange(1, 6)};
  }
  return options;
}

// Returns the tick of a stage after those of the history, without a buffer: an output is stored if
// fewer than `buffer_size` newer ones exist, and its reads are counted one by one.
ReplayTick reference_tick(const std::vector<ReplayTick>& history, int stage, int buffer_size) {
  const auto count = [&](auto&& matches) {
    return static_cast<std::int64_t>(std::ranges::count_if(history, matches));
  };
  const auto own = [&](const ReplayTick& tick) { return tick.stage == stage; };
  const auto below = [&](const ReplayTick& tick) { return tick.stage == stage - 1; };
  ReplayTick next{.stage = stage, .update = count(own) + 1, .batch = count(own)};
  std::int64_t fewest_reads = std::ssize(history) + 1;
  for (const ReplayTick& written : history) {
    const std::int64_t newer = count(below) - written.update;
    const std::int64_t reads = count([&](const ReplayTick& tick) {
      return own(tick) && stage > 0 && tick.source == written.update;
    });
    if (below(written) && newer < buffer_size && reads <= fewest_reads) {
      fewest_reads = reads;
      next.batch = written.batch;
      next.source = written.update;
      next.staleness = newer;
    }
  }
  return next;
}

TEST(ReplayTest, ReadsTheNewestOfTheLeastRead) {
  EXPECT_TRUE(rc::check([] {
    const ReplayOptions options = any_options();
    std::vector<ReplayTick> history;
    for (const ReplayTick& tick : plan(options, *rc::gen::inRange(1, 60))) {
      RC_ASSERT(tick == reference_tick(history, tick.stage, options.buffer_size));
      history.push_back(tick);
    }
  }));
}

TEST(ReplayTest, ReadsOnlyWhatIsStored) {
  EXPECT_TRUE(rc::check([] {
    const ReplayOptions options = any_options();
    // By stage: source and batch of each stored output.
    std::vector<std::vector<std::pair<std::int64_t, std::int64_t>>> stored(6);
    for (const ReplayTick& tick : plan(options, 200)) {
      RC_ASSERT(tick.stage >= 0 && tick.stage < options.num_stages);
      RC_ASSERT(tick.staleness >= 0 && tick.staleness < options.buffer_size);
      if (tick.stage > 0) {
        const auto& below = stored[static_cast<std::size_t>(tick.stage) - 1];
        RC_ASSERT(std::ranges::count(below, std::pair(tick.source, tick.batch)) == 1);
      }
      auto& own = stored[static_cast<std::size_t>(tick.stage)];
      own.emplace_back(tick.update, tick.batch);
      if (std::ssize(own) > options.buffer_size) {
        own.erase(own.begin());  // the oldest
      }
    }
  }));
}

TEST(ReplayTest, IsAFunctionOfItsOptions) {
  EXPECT_TRUE(rc::check([] {
    ReplayOptions options = any_options();
    const std::vector<ReplayTick> ticks = plan(options, 100);
    RC_ASSERT(plan(options, 100) == ticks);
    ++options.seed;
    RC_ASSERT(options.num_stages == 1 || plan(options, 100) != ticks);
  }));
}

// Whole numbers alone determine it: it has no rounding, and is the same everywhere.
TEST(ReplayTest, HasWrittenStages) {
  std::vector<int> stages;
  for (const ReplayTick& tick :
       plan({.num_stages = 3, .slowed = {{.stage = 1, .factor = 2}}, .seed = 7}, 12)) {
    stages.push_back(tick.stage);
  }
  EXPECT_EQ(stages, (std::vector<int>{0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 0}));
}

// What is drawn does not depend on what is stored, but for which buffers are empty.
TEST(ReplayTest, AnotherBufferSizeDrawsTheSameStages) {
  EXPECT_TRUE(rc::check([] {
    ReplayOptions options = any_options();
    const std::vector<ReplayTick> ticks = plan(options, 100);
    ++options.buffer_size;
    const std::vector<ReplayTick> others = plan(options, 100);
    RC_ASSERT(std::ranges::equal(ticks, others, {}, &ReplayTick::stage, &ReplayTick::stage));
  }));
}

constexpr int kManyTicks = 20000;

std::vector<double> shares(const ReplayOptions& options) {
  std::vector<double> share(static_cast<std::size_t>(options.num_stages));
  for (const ReplayTick& tick : plan(options, kManyTicks)) {
    share[static_cast<std::size_t>(tick.stage)] += 1.0 / kManyTicks;
  }
  return share;
}

TEST(ReplayTest, DrawsEachStageAsOftenAsItsWeight) {
  const double sigma = 0.5 / std::sqrt(kManyTicks);  // at most, of a share
  for (const double share : shares({.num_stages = 4})) {
    EXPECT_NEAR(share, 0.25, 4 * sigma);
  }
  for (int slowed = 0; slowed < 4; ++slowed) {
    const std::vector<double> found =
        shares({.num_stages = 4, .slowed = {{.stage = slowed, .factor = 5}}});
    for (int stage = 0; stage < 4; ++stage) {
      EXPECT_NEAR(found[static_cast<std::size_t>(stage)], (stage == slowed ? 1.0 : 5.0) / 16,
                  4 * sigma)
          << stage << " with " << slowed << " slowed";
    }
  }
}

TEST(ReplayTest, AFactorOfOneSlowsNothing) {
  for (const double share : shares({.num_stages = 4, .slowed = {{.stage = 1, .factor = 1}}})) {
    EXPECT_NEAR(share, 0.25, 0.02);
  }
}

struct Reads {
  int again = 0;  // of an output that the stage has read before
  int stale = 0;  // of another output than the newest
};

Reads reads_of_stage_1(const ReplayOptions& options) {
  Reads reads;
  std::set<std::int64_t> known;
  for (const ReplayTick& tick : plan(options, kManyTicks)) {
    if (tick.stage == 1) {
      reads.again += known.insert(tick.source).second ? 0 : 1;
      reads.stale += tick.staleness > 0 ? 1 : 0;
    }
  }
  return reads;
}

TEST(ReplayTest, ABufferOfOneReadsTheNewestAgainAndAgain) {
  const Reads one = reads_of_stage_1({.num_stages = 2, .buffer_size = 1});
  const Reads many = reads_of_stage_1({.num_stages = 2, .buffer_size = 50});
  EXPECT_EQ(one.stale, 0);
  EXPECT_GT(many.stale, 0);
  EXPECT_GT(one.again, 2 * many.again);
}

TEST(ReplayTest, AStageAboveASlowedOneReadsMoreOftenAgain) {
  const Reads even = reads_of_stage_1({.num_stages = 2, .buffer_size = 4});
  const Reads slow_below =
      reads_of_stage_1({.num_stages = 2, .buffer_size = 4, .slowed = {{.stage = 0, .factor = 4}}});
  const Reads slow =
      reads_of_stage_1({.num_stages = 2, .buffer_size = 4, .slowed = {{.stage = 1, .factor = 4}}});
  EXPECT_GT(slow_below.again, even.again);
  EXPECT_LT(slow.again, even.again);
}

// However rarely a stage is drawn, the first tick does not wait for luck.
TEST(ReplayTest, StageZeroBegins) {
  const std::vector<ReplayTick> ticks =
      plan({.num_stages = 1000, .slowed = {{.stage = 0, .factor = 1 << 20}}}, 3);
  EXPECT_EQ(ticks[0], (ReplayTick{.stage = 0, .update = 1, .batch = 0}));
  EXPECT_EQ(ticks[1], (ReplayTick{.stage = 1, .update = 1, .batch = 0, .source = 1}));
}

TEST(ReplayTest, RefusesWhatCannotRun) {
  const auto error_of = [](const ReplayOptions& options) {
    return text_of_thrown<ConfigError>([&] { Replay replay(options); });
  };
  EXPECT_TRUE(contains(error_of({.num_stages = 0}),
                       "replay: the number of stages is 0; it must be 1 to 1048576"));
  EXPECT_TRUE(contains(error_of({.buffer_size = -1}), "the size of the buffers is -1; it must be"));
  EXPECT_TRUE(contains(error_of({.buffer_size = (1 << 20) + 1}), "buffers is 1048577; it must be"));
  EXPECT_TRUE(contains(error_of({.slowed = {{.stage = 0, .factor = 0}}}),
                       "the factor of the slowed stage is 0; it must be"));
  EXPECT_TRUE(contains(error_of({.num_stages = 3, .slowed = {{.stage = 3, .factor = 2}}}),
                       "replay: the slowed stage is 3; it must be 0 to 2"));
  EXPECT_TRUE(contains(error_of({.slowed = {{.stage = -1, .factor = 2}}}), "slowed stage is -1"));
}

}  // namespace
}  // namespace halfback
