// Work on the threads of ranks, and what it throws.
#include "halfback/engine/rank_threads.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace halfback {
namespace {

TEST(RankThreadsTest, WorkRunsOncePerRank) {
  RankThreads threads({0, 1, 2}, 1);
  std::vector<int> runs(3, 0);
  for (int i = 0; i < 4; ++i) {
    threads.run([&](int rank) { ++runs[static_cast<std::size_t>(rank)]; });
  }
  EXPECT_EQ(runs, (std::vector<int>{4, 4, 4}));
}

TEST(RankThreadsTest, AnErrorComesOutOnceAllAreDoneAndTheThreadsLiveOn) {
  RankThreads threads({0, 1, 2}, 1);
  std::vector<int> runs(3, 0);
  const auto work = [&](int rank) {
    ++runs[static_cast<std::size_t>(rank)];
    if (rank == 1) {
      throw std::runtime_error("no memory");
    }
  };
  EXPECT_THROW(threads.run(work), std::runtime_error);
  EXPECT_EQ(runs, (std::vector<int>{1, 1, 1}));
  EXPECT_NO_THROW(threads.run([](int) {}));
}

}  // namespace
}  // namespace halfback
