// Groups between the threads of one process: what each operation gives every member, the one order
// of sums, and the end of every wait for a member that stays away.
#include "halfback/group/group.h"

#include "halfback/base/error.h"
#include "halfback/transport/in_process.h"
#include "tests/support/errors.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <functional>
#include <thread>

namespace halfback {
namespace {

constexpr int kSize = 5;

// Runs work(group of all) on a thread for each rank.
void run(int num_ranks, const std::function<void(Group&)>& work) {
  const auto network = make_in_process_network({.num_ranks = num_ranks});
  std::vector<std::thread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      Group world = Group::world(*network, rank, num_ranks);
      work(world);
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

at::Tensor filled(double value, std::int64_t size = 3) { return at::full({size}, value); }

double value_of(const at::Tensor& tensor) { return tensor[0].item<double>(); }

TEST(GroupTest, BroadcastsFromAnyMember) {
  run(kSize, [](Group& group) {
    for (int root = 0; root < kSize; ++root) {
      const at::Tensor tensor = filled(group.rank());
      group.broadcast(tensor, root);
      EXPECT_TRUE(tensor.equal(filled(root)));
    }
  });
}

TEST(GroupTest, GathersPartsOfAnySize) {
  run(kSize, [](Group& group) {
    Group::Parts parts;
    for (int member = 0; member < kSize; ++member) {
      parts.push_back(member == group.rank() ? filled(member, member) : at::zeros({member}));
    }
    group.all_gather(parts);
    for (int member = 0; member < kSize; ++member) {
      EXPECT_TRUE(parts[static_cast<std::size_t>(member)].equal(filled(member, member)));
    }
  });
}

TEST(GroupTest, ExchangesWhatIsThereAndLeavesTheRest) {
  run(kSize, [](Group& group) {
    Group::Parts gives(kSize);
    Group::Parts gets(kSize);
    const auto next = static_cast<std::size_t>((group.rank() + 1) % kSize);
    const auto previous = static_cast<std::size_t>((group.rank() + kSize - 1) % kSize);
    gives[next] = filled(group.rank());
    gets[previous] = filled(-1.0);
    group.exchange(gives, gets);
    EXPECT_EQ(value_of(gets[previous]), static_cast<double>(previous));
  });
}

// Lists of other lengths each time, some of which take a second message.
TEST(GroupTest, GathersNumbersOfAnyCount) {
  const auto numbers_of = [](int round, int member) {
    constexpr std::array<std::size_t, 5> kCounts = {0, 3, 255, 256, 2000};
    return std::vector<double>(kCounts[static_cast<std::size_t>(round + member) % 5],
                               round + member / 7.0);
  };
  run(kSize, [&](Group& group) {
    for (int round = 0; round < 100; ++round) {
      const auto all = group.all_gather(numbers_of(round, group.rank()));
      ASSERT_EQ(all.size(), static_cast<std::size_t>(kSize));
      for (int member = 0; member < kSize; ++member) {
        ASSERT_EQ(all[static_cast<std::size_t>(member)], numbers_of(round, member));
      }
    }
  });
}

TEST(GroupTest, GivesEachMemberItsPart) {
  run(kSize, [](Group& group) {
    Group::Parts gives;
    Group::Parts gets;
    for (int member = 0; member < kSize; ++member) {
      gives.push_back(filled(10 * group.rank() + member));
      gets.push_back(filled(-1.0));
    }
    group.all_to_all(gives, gets);
    for (int member = 0; member < kSize; ++member) {
      const double expected = member == group.rank() ? -1.0 : 10 * member + group.rank();
      EXPECT_EQ(value_of(gets[static_cast<std::size_t>(member)]), expected);
    }
  });
}

// In float32 another order gives other bits: ((0 + 1) + (2 + 3)) + 4.
TEST(GroupTest, SumsPairwiseInTheOrderOfTheMembers) {
  const std::vector<float> values = {1.0F, 1e8F, -1e8F, 3.0F, 1e-3F};
  const float expected = ((values[0] + values[1]) + (values[2] + values[3])) + values[4];
  ASSERT_NE(expected, (((values[0] + values[1]) + values[2]) + values[3]) + values[4]);
  run(kSize, [&](Group& group) {
    const at::Tensor tensor = at::full({1000, 3}, values[static_cast<std::size_t>(group.rank())]);
    group.all_reduce(tensor);
    EXPECT_TRUE(tensor.equal(at::full({1000, 3}, expected)));

    Group::Parts parts;
    for (int member = 0; member < kSize; ++member) {
      parts.push_back(filled(values[static_cast<std::size_t>(group.rank())], 1 + member));
    }
    group.reduce_scatter(parts);
    EXPECT_TRUE(
        parts[static_cast<std::size_t>(group.rank())].equal(filled(expected, 1 + group.rank())));
  });
}

TEST(GroupTest, SplitsKeepTheirOrderAndDoNotDisturbEachOther) {
  run(4, [](Group& world) {
    auto odd = world.split({3, 1});
    auto even = world.split({0, 2});
    auto all = world.split({3, 2, 1, 0});
    ASSERT_EQ(odd.has_value(), world.rank() % 2 == 1);
    ASSERT_EQ(even.has_value(), world.rank() % 2 == 0);
    EXPECT_EQ(all->rank(), 3 - world.rank());
    // Begun in different orders, and all under way at once.
    Group& half = odd ? *odd : *even;
    const at::Tensor of_half = filled(world.rank());
    const at::Tensor of_all = filled(world.rank());
    const auto parts = [](const Group& group, const at::Tensor& own) {
      Group::Parts made;
      for (int member = 0; member < group.size(); ++member) {
        made.push_back(member == group.rank() ? own : filled(-1.0));
      }
      return made;
    };
    const Group::Parts halves = parts(half, of_half);
    const Group::Parts alls = parts(*all, of_all);
    std::unique_ptr<Exchange> first;
    std::unique_ptr<Exchange> second;
    if (world.rank() < 2) {
      first = half.begin_all_gather(halves);
      second = all->begin_all_gather(alls);
    } else {
      second = all->begin_all_gather(alls);
      first = half.begin_all_gather(halves);
    }
    second->wait();
    first->wait();
    EXPECT_EQ(value_of(halves[0]), odd ? 3.0 : 0.0);
    EXPECT_EQ(value_of(halves[1]), odd ? 1.0 : 2.0);
    for (int member = 0; member < 4; ++member) {
      EXPECT_EQ(value_of(alls[static_cast<std::size_t>(member)]), 3.0 - member);
    }
  });
}

TEST(GroupTest, AGroupOfOneHasNobodyToWaitFor) {
  run(1, [](Group& group) {
    const at::Tensor tensor = filled(2.5);
    group.broadcast(tensor, 0);
    group.all_reduce(tensor);
    group.all_gather({tensor});
    EXPECT_EQ(group.all_gather(std::vector<double>{1.5}).front(), std::vector<double>{1.5});
    EXPECT_TRUE(tensor.equal(filled(2.5)));
  });
}

struct Operation {
  const char* name;
  std::function<void(Group&)> run;
};

Group::Parts three_parts() { return {filled(0.0), filled(0.0), filled(0.0)}; }

std::vector<Operation> operations() {
  return {{"exchange", [](Group& group) { group.exchange(three_parts(), three_parts()); }},
          {"all_to_all", [](Group& group) { group.all_to_all(three_parts(), three_parts()); }},
          {"broadcast", [](Group& group) { group.broadcast(filled(0.0), 2); }},
          {"all_gather", [](Group& group) { group.all_gather(three_parts()); }},
          {"all_gather", [](Group& group) { group.all_gather(std::vector<double>{1.5}); }},
          {"reduce_scatter", [](Group& group) { group.reduce_scatter(three_parts()); }},
          {"all_reduce", [](Group& group) { group.all_reduce(filled(0.0)); }}};
}

// Member 0 of 3 comes alone.
TEST(GroupTest, EveryOperationEndsAtTheDeadlineWhenAMemberStaysAway) {
  for (const Operation& operation : operations()) {
    SCOPED_TRACE(operation.name);
    const auto network =
        make_in_process_network({.num_ranks = 3, .timeout = std::chrono::milliseconds(50)});
    Group group = Group::world(*network, 0, 3);
    const std::string text = text_of_thrown<TransportError>([&] { operation.run(group); });
    const std::string rank = contains(text, "rank 1") ? "rank 1" : "rank 2";
    EXPECT_EQ(text,
              fmt::format("waited 0.05 s for {} to join {} of all 3 ranks", rank, operation.name));
  }
}

TEST(GroupTest, EveryOperationEndsWhenTheRunIsStopped) {
  for (const Operation& operation : operations()) {
    SCOPED_TRACE(operation.name);
    const auto network = make_in_process_network({.num_ranks = 3});
    std::thread stopping([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      network->stop();
    });
    Group group = Group::world(*network, 0, 3);
    EXPECT_THROW(operation.run(group), StoppedError);
    stopping.join();
  }
}

}  // namespace
}  // namespace halfback
