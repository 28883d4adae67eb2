// Work on the threads of ranks, and what it throws.
#include "halfback/engine/rank_threads.h"

#include "halfback/base/error.h"
#include "halfback/transport/transport.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
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

TEST(RankThreadsTest, ASingleRankCanWorkWhereItIsWaitedFor) {
  RankThreads threads({3}, 1, RankThreads::Where::Caller);
  std::vector<int> order;
  std::vector<std::shared_ptr<RankThreads::Begun>> begun;
  for (int i = 0; i < 4; ++i) {
    begun.push_back(threads.begin([&, i](int rank) {
      order.push_back(i);
      if (i == 1) {
        throw std::runtime_error("no memory");
      }
      EXPECT_EQ(rank, 3);
    }));
  }
  EXPECT_TRUE(order.empty());
  threads.wait(*begun[0]);
  EXPECT_EQ(order, (std::vector<int>{0}));
  EXPECT_THROW(threads.wait(*begun[1]), std::runtime_error);
  EXPECT_EQ(order, (std::vector<int>{0, 1}));  // what was begun behind it is left out
  threads.run([&](int) { order.push_back(9); });
  EXPECT_EQ(order.back(), 9);
}

TEST(RankThreadsTest, ARankDoesNotWaitForOthersBetweenWorks) {
  RankThreads threads({0, 1}, 1);
  std::latch last(1);
  std::vector<std::vector<int>> order(2);
  std::vector<std::shared_ptr<RankThreads::Begun>> begun;
  for (int i = 0; i < 3; ++i) {
    begun.push_back(threads.begin([&, i](int rank) {
      order[static_cast<std::size_t>(rank)].push_back(i);
      if (rank == 0 && i == 0) {
        last.wait();  // which rank 1 reaches only in the third work
      } else if (rank == 1 && i == 2) {
        last.count_down();
      }
    }));
  }
  for (const auto& one : begun) {
    threads.wait(*one);
  }
  EXPECT_EQ(order, (std::vector<std::vector<int>>{{0, 1, 2}, {0, 1, 2}}));
}

TEST(RankThreadsTest, RanksLeaveOutWhatIsBehindAFailure) {
  RankThreads threads({0, 1}, 1);
  std::latch has_failed(1);
  std::atomic<int> num_behind = 0;
  const auto first = threads.begin([](int) {});
  const auto stopped = threads.begin([&](int rank) {
    if (rank == 1) {
      has_failed.wait();
      throw StoppedError();
    }
  });
  const auto failing = threads.begin([&](int rank) {
    if (rank == 0) {
      has_failed.count_down();
      throw std::runtime_error("no memory");
    }
  });
  const auto behind = threads.begin([&](int) { ++num_behind; });
  EXPECT_NO_THROW(threads.wait(*first));
  EXPECT_THROW(threads.wait(*stopped), std::runtime_error) << "the cause, not what it stopped";
  EXPECT_THROW(threads.wait(*behind), TransportError);
  EXPECT_EQ(num_behind, 0);
}

}  // namespace
}  // namespace halfback
