// Checkpoints that several processes write together: the same to whoever loads them, in the same
// place or nowhere.
#include "halfback/base/error.h"
#include "halfback/checkpoint/checkpoint.h"
#include "halfback/checkpoint/checkpoint_save.h"
#include "halfback/checkpoint/kept_checkpoints.h"
#include "halfback/checkpoint/safetensors.h"
#include "tests/support/checkpoints.h"
#include "tests/support/errors.h"
#include "tests/support/small_disk.h"
#include "tests/support/small_model.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/thread_peers.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <vector>

namespace halfback::testing {
namespace {

namespace fs = std::filesystem;

const TrainingState kState{.step = 2, .position = 16, .seed = 7, .optimizer = "adamw"};

using Errors = std::vector<std::string>;

// Which stages each process writes.
using Deal = std::vector<std::vector<int>>;

class ParallelCheckpointTest : public ::testing::Test {
 protected:
  ParallelCheckpointTest() {
    for (int step = 1; step <= 2; ++step) {
      trained_->train_step(make_batches({}, step), {.number = step, .learning_rate = 1e-2});
    }
  }

  Errors save(const Deal& deal, const fs::path& path, CheckpointOptions options = {}) {
    return errors_together(static_cast<int>(deal.size()), [&](const PeersPointer& peers) {
      StageList mine;
      for (const int stage : deal[static_cast<std::size_t>(peers->index())]) {
        mine.push_back(&trained_->stage(stage));
      }
      CheckpointOptions own = options;
      own.peers = peers;
      save_checkpoint(path, small_llama(), mine, kState, own);
    });
  }

  void expect_loads_on(int num_ranks, const std::string& what) {
    const auto other = make_pipeline({.num_ranks = num_ranks});
    load_parameters(path_, stages_of(*other));
    EXPECT_EQ(load_training_state(path_, stages_of(*other), "adamw"), kState) << what;
    EXPECT_TRUE(bytes_of(*other, Buffer::Values) == bytes_of(*trained_, Buffer::Values)) << what;
    EXPECT_TRUE(state_bytes(*other) == state_bytes(*trained_)) << what;
  }

  TemporaryDirectory directory_;
  fs::path path_ = directory_ / "checkpoint";
  std::unique_ptr<Pipeline> trained_ = make_pipeline({.num_ranks = 4});
};

TEST_F(ParallelCheckpointTest, GoesThereAndBackToTheBitWhoeverWritesAndWhateverTheCut) {
  for (const Deal& deal :
       {Deal{{0, 1, 2, 3}}, Deal{{0, 1}, {2, 3}}, Deal{{0, 2}, {1, 3}}, Deal{{0}, {1, 2}, {3}},
        Deal{{3}, {0, 2}, {1}}, Deal{{0, 1, 2, 3}, {}}}) {
    const std::string what = ::testing::PrintToString(deal);
    EXPECT_EQ(save(deal, path_), Errors(deal.size())) << what;
    require_complete(path_);
    for (int num_ranks = 1; num_ranks <= 4; ++num_ranks) {
      expect_loads_on(num_ranks, what);
    }
    EXPECT_EQ(num_entries(directory_.path()), 1) << what;
  }
}

TEST_F(ParallelCheckpointTest, TheIndexCountsTheFilesOfAllAndNamesEveryTensor) {
  ASSERT_EQ(save({{0}, {1, 2}, {3}}, path_), Errors(3));
  save_checkpoint(directory_ / "one", small_llama(), stages_of(*trained_), kState);
  for (const std::string set : {"model", "training_state"}) {
    for (const char* number : {"1", "2", "3"}) {
      EXPECT_TRUE(fs::exists(path_ / (set + "-0000" + number + "-of-00003.safetensors")));
    }
    std::vector<std::string> names = SafetensorsDirectory(directory_ / "one", set).names();
    std::sort(names.begin(), names.end());
    EXPECT_EQ(SafetensorsDirectory(path_, set).names(), names);
    const auto index = nlohmann::json::parse(slurp(path_ / (set + ".safetensors.index.json")));
    EXPECT_GT(index["metadata"]["total_size"], 0);
  }
  EXPECT_EQ(num_entries(path_), 3 + 1 + 3 + 1 + 3);
}

TEST_F(ParallelCheckpointTest, EachSplitsItsPartIntoShards) {
  ASSERT_EQ(save({{0, 1}, {2, 3}}, path_, {.max_shard_bytes = 4096}), Errors(2));
  EXPECT_GT(num_entries(path_), 20);
  expect_loads_on(3, "");
}

TEST_F(ParallelCheckpointTest, OneThatHoldsAllWritesTheFilesOfOneProcess) {
  ASSERT_EQ(save({{}, {0, 1, 2, 3}}, path_), Errors(2));
  save_checkpoint(directory_ / "one", small_llama(), stages_of(*trained_), kState);
  for (const fs::directory_entry& entry : fs::directory_iterator(directory_ / "one")) {
    EXPECT_TRUE(slurp(path_ / entry.path().filename()) == slurp(entry.path())) << entry.path();
  }
  EXPECT_EQ(num_entries(path_), 5);
}

TEST_F(ParallelCheckpointTest, ReplicasShareOutTheStages) {
  for (const int num_replicas : {1, 2, 3}) {
    for (int stage = 0; stage < 7; ++stage) {
      int num_writers = 0;
      for (int replica = 0; replica < num_replicas; ++replica) {
        num_writers += writes_stage(stage, replica, num_replicas) ? 1 : 0;
      }
      EXPECT_EQ(num_writers, 1);
    }
  }
  EXPECT_TRUE(writes_stage(3, 1, 2));
}

TEST_F(ParallelCheckpointTest, AnErrorOfOneIsThrownByAllAndNothingIsLeft) {
  const SmallDisk disk;  // holds the first process's part only
  const fs::path place = disk.path() / "checkpoint";
  const Errors errors = save({{}, {0, 1, 2, 3}, {}}, place);
  for (const std::string& text : errors) {
    EXPECT_EQ(text.find("process 1: "), 0U) << text;
    EXPECT_TRUE(contains(text, "cannot write: No space left on device; make room there")) << text;
    EXPECT_EQ(text, errors.front());
  }
  EXPECT_EQ(num_entries(disk.path()), 0);
}

TEST_F(ParallelCheckpointTest, WhatTheFirstRefusesIsThrownByAll) {
  ASSERT_EQ(save({{0, 1}, {2, 3}}, path_), Errors(2));
  const std::string old = slurp(path_ / "checkpoint.json");
  spit(path_ / "config.json", "mine");
  for (const std::string& text : errors_together(2, [&](const PeersPointer& peers) {
         require_checkpoint_place(path_, {.peers = peers});
       })) {
    EXPECT_TRUE(contains(text, "process 0: ")) << text;
    EXPECT_TRUE(contains(text, "checkpoint/config.json: is not as train has written it")) << text;
  }
  EXPECT_EQ(slurp(path_ / "checkpoint.json"), old);
  EXPECT_EQ(num_entries(directory_.path()), 1);
}

// A process that does not come to the exchange: the deadline of its peer ends the writing.
TEST_F(ParallelCheckpointTest, APeerThatIsGoneLeavesTheOldCheckpoint) {
  ASSERT_EQ(save({{0, 1, 2, 3}}, path_), Errors(1));
  const std::string old = slurp(path_ / "checkpoint.json");
  for (int survived = 0; survived < 6; ++survived) {
    const auto meeting = std::make_shared<Meeting>(2);
    int num_exchanges = 0;
    const auto leaves = [&, survived](const std::string&) {
      if (num_exchanges++ == survived) {
        throw TransportError("process 1 is gone");
      }
    };
    std::thread other([&] {
      try {
        save_checkpoint(path_, small_llama(), StageList{}, kState,
                        {.peers = std::make_shared<ThreadPeers>(meeting, 1)});
      } catch (const TransportError&) {
        // its own deadline
      }
    });
    EXPECT_THROW(save_checkpoint(path_, small_llama(), stages_of(*trained_), kState,
                                 {.peers = std::make_shared<ThreadPeers>(meeting, 0, leaves)}),
                 TransportError);
    meeting->close();
    other.join();
    EXPECT_EQ(slurp(path_ / "checkpoint.json"), old);
    EXPECT_EQ(num_entries(directory_.path()), 1);
  }
}

TEST_F(ParallelCheckpointTest, AllCheckAndAllHearWhatIsWrong) {
  ASSERT_EQ(save({{0, 1}, {2, 3}}, path_), Errors(2));
  const auto check = [&](const PeersPointer& peers) { require_complete(path_, peers); };
  EXPECT_EQ(errors_together(3, check), Errors(3));
  for (const fs::directory_entry& entry : fs::directory_iterator(path_)) {
    const std::string whole = slurp(entry.path());
    spit(entry.path(), whole.substr(0, whole.size() - 1));
    for (const std::string& text : errors_together(3, check)) {
      EXPECT_TRUE(contains(text, entry.path().string() + ": ")) << text;
    }
    spit(entry.path(), whole);
  }
}

TEST_F(ParallelCheckpointTest, AllFindTheSamePlaceToGoOnFrom) {
  ASSERT_EQ(save({{0, 1}, {2, 3}}, path_), Errors(2));
  fs::copy(path_, kept_path(path_, 1));
  fs::remove(path_ / "model.safetensors.index.json");
  EXPECT_EQ(errors_together(3,
                            [&](const PeersPointer& peers) {
                              const ResumePoint point = find_resume_point(path_, peers);
                              EXPECT_EQ(point.directory, kept_path(path_, 1));
                              EXPECT_TRUE(contains(point.note, "index.json: cannot open"));
                            }),
            Errors(3));
}

TEST_F(ParallelCheckpointTest, ThePlaceIsCheckedByOneAndAllHearOfIt) {
  spit(directory_ / "file", "mine");
  for (const std::string& text : errors_together(2, [&](const PeersPointer& peers) {
         require_checkpoint_place(directory_ / "file", {.peers = peers});
       })) {
    EXPECT_TRUE(contains(text, "file: is a file; expected a directory or nothing")) << text;
  }
  EXPECT_EQ(errors_together(2,
                            [&](const PeersPointer& peers) {
                              require_checkpoint_place(directory_ / "new/deep", {.peers = peers});
                            }),
            Errors(2));
  EXPECT_EQ(num_entries(directory_ / "new"), 0);
}

TEST_F(ParallelCheckpointTest, APlaceThatIsNotSharedIsRefused) {
  for (const std::string& text : errors_together(2, [&](const PeersPointer& peers) {
         require_checkpoint_place(directory_ / std::to_string(peers->index()) / "run",
                                  {.peers = peers});
       })) {
    EXPECT_EQ(text.find("process 1: "), 0U) << text;
    EXPECT_TRUE(contains(text,
                         ": process 0 made it, and it is not there; expected a file system "
                         "that all processes share"))
        << text;
  }
  EXPECT_EQ(num_entries(directory_ / "0"), 0);
}

}  // namespace
}  // namespace halfback::testing
