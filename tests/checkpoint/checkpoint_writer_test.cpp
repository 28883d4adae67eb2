// Checkpoints that are written while training goes on: what is in them, who waits for whom, and
// where an error comes out.
#include "halfback/checkpoint/checkpoint_writer.h"

#include "halfback/base/error.h"
#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/checkpoint/manifest.h"
#include "halfback/engine/memory.h"
#include "tests/support/checkpoints.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/thread_peers.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <vector>

namespace halfback::testing {
namespace {

namespace fs = std::filesystem;

TrainingState state_of(std::int64_t step) { return {.step = step, .optimizer = "adamw"}; }

class CheckpointWriterTest : public ::testing::Test {
 protected:
  CheckpointWriter writer(const PeersPointer& peers = alone(), int keep = 1) const {
    return {path_, TinyStage::config(), {.peers = peers, .keep = keep}};
  }

  // The values of a checkpoint are those of that draw.
  static void expect_values(const fs::path& directory, std::uint64_t seed) {
    TinyStage loaded(99);
    load_parameters(directory, loaded.list());
    EXPECT_TRUE(loaded.stage().store().values().equal(TinyStage(seed).stage().store().values()));
  }

  TinyStage tiny_{1};
  TemporaryDirectory directory_;
  fs::path path_ = directory_ / "run";
};

// The other process comes when the test wants it to: until then the writing is under way.
TEST_F(CheckpointWriterTest, HoldsWhatWasThereWhenItBeganAndTrainingGoesOn) {
  const auto meeting = std::make_shared<Meeting>(2);
  CheckpointWriter one = writer(std::make_shared<ThreadPeers>(meeting, 0));
  CheckpointWriter other = writer(std::make_shared<ThreadPeers>(meeting, 1));
  one.begin(tiny_.buffers(), state_of(1));
  tiny_.draw(2);
  one.check();
  EXPECT_FALSE(fs::exists(path_));
  other.begin({}, state_of(1));
  one.finish();
  other.finish();
  expect_values(path_, 1);
}

TEST_F(CheckpointWriterTest, TheNextOneWaitsForTheOneUnderWay) {
  const auto meeting = std::make_shared<Meeting>(2);
  CheckpointWriter one = writer(std::make_shared<ThreadPeers>(meeting, 0), 2);
  CheckpointWriter other = writer(std::make_shared<ThreadPeers>(meeting, 1), 2);
  one.begin(tiny_.buffers(), state_of(1));
  auto second = std::async(std::launch::async, [&] {
    tiny_.draw(2);
    one.begin(tiny_.buffers(), state_of(2));
  });
  other.begin({}, state_of(1));
  other.begin({}, state_of(2));
  second.get();
  one.finish();
  other.finish();
  expect_values(path_, 2);
  expect_values(kept_path(path_, 1), 1);
}

TEST_F(CheckpointWriterTest, UsesItsCopiesAgainAndCountsThemToNoRank) {
  CheckpointWriter one = writer();
  one.begin(tiny_.buffers(), state_of(1));
  one.finish();
  const std::int64_t before = live_bytes(kNoRank);
  for (const std::int64_t step : {2, 3}) {
    tiny_.draw(static_cast<std::uint64_t>(step));
    one.begin(tiny_.buffers(), state_of(step));
    one.finish();
    expect_values(path_, static_cast<std::uint64_t>(step));
  }
  EXPECT_EQ(live_bytes(kNoRank), before);
}

TEST_F(CheckpointWriterTest, KeepsThoseOfItsRun) {
  save_checkpoint(path_, TinyStage::config(), tiny_.list(), state_of(7));
  CheckpointWriter one = writer(alone(), 3);
  for (const std::int64_t step : {1, 2, 3, 4}) {
    one.begin(tiny_.buffers(), state_of(step));
  }
  one.finish();
  EXPECT_EQ(read_manifest(path_).step, 4);
  const std::vector<KeptCheckpoint> kept = kept_checkpoints(path_);
  ASSERT_EQ(kept.size(), 2U);
  EXPECT_EQ(kept[0].step, 3);
  EXPECT_EQ(kept[1].step, 2);
  EXPECT_EQ(num_entries(directory_.path()), 3);
}

TEST_F(CheckpointWriterTest, TellsWhenACheckpointIsInPlace) {
  const SmallDisk disk;
  std::vector<std::int64_t> told;
  CheckpointWriter one(disk.path() / "run", TinyStage::config(),
                       {.on_complete = [&](std::int64_t step) {
                         EXPECT_EQ(read_manifest(disk.path() / "run").step, step);
                         told.push_back(step);
                       }});
  one.begin(tiny_.buffers(), state_of(1));
  one.begin(tiny_.buffers(), state_of(2));
  one.finish();
  spit(disk.path() / "filler", std::string(20'000, 'x'));
  one.begin(tiny_.buffers(), state_of(3));
  EXPECT_THROW(one.finish(), FileError);
  EXPECT_EQ(told, (std::vector<std::int64_t>{1, 2}));
}

TEST_F(CheckpointWriterTest, AFullDiskIsToldOnceAndTheOldCheckpointStays) {
  const SmallDisk disk;
  path_ = disk.path() / "run";
  CheckpointWriter one = writer();
  one.begin(tiny_.buffers(), state_of(1));
  one.finish();
  spit(disk.path() / "filler", std::string(20'000, 'x'));
  one.begin(tiny_.buffers(), state_of(2));
  const std::string text = text_of_thrown<FileError>([&] { one.finish(); });
  EXPECT_TRUE(contains(text, "No space left on device; make room there")) << text;
  one.check();
  require_complete(path_);
  EXPECT_EQ(read_manifest(path_).step, 1);
  EXPECT_EQ(num_entries(disk.path()), 2);
  fs::remove(disk.path() / "filler");
  one.begin(tiny_.buffers(), state_of(3));
  one.finish();
  EXPECT_EQ(read_manifest(path_).step, 3);
}

TEST_F(CheckpointWriterTest, TheErrorOfTheOneUnderWayIsThrownByTheNext) {
  spit(directory_ / "run", "a file is in the way");
  CheckpointWriter one = writer();
  one.begin(tiny_.buffers(), state_of(1));
  EXPECT_TRUE(contains(text_of_thrown<FileError>([&] { one.begin(tiny_.buffers(), state_of(2)); }),
                       "run: is"));
}

TEST_F(CheckpointWriterTest, ItsEndWaitsForTheOneUnderWay) {
  {
    CheckpointWriter one = writer();
    one.begin(tiny_.buffers(), state_of(1));
  }
  require_complete(path_);
}

}  // namespace
}  // namespace halfback::testing
