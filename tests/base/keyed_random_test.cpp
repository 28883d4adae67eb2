#include "halfback/base/keyed_random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <set>
#include <vector>

namespace halfback {
namespace {

constexpr Purpose kLastPurpose = Purpose::ImageViewNumber;

std::vector<std::int64_t> order(std::int64_t size, std::uint64_t key) {
  const KeyedPermutation permutation(size, key);
  std::vector<std::int64_t> result;
  for (std::int64_t i = 0; i < size; ++i) {
    result.push_back(permutation(i));
  }
  return result;
}

TEST(KeyedHashTest, DependsOnEveryWordItsPlaceAndTheLength) {
  const std::set<std::uint64_t> hashes = {
      mixed_bits({}),     mixed_bits({0}),    mixed_bits({0, 0}),
      mixed_bits({1}),    mixed_bits({1, 0}), mixed_bits({0, 1}),
      mixed_bits({1, 1}), mixed_bits({2, 1}), mixed_bits({1, 2})};
  EXPECT_EQ(hashes.size(), 9U);
}

TEST(KeyedHashTest, FlipsHalfOfTheBits) {
  int num_flipped = 0;
  for (std::uint64_t i = 0; i < 64; ++i) {
    num_flipped += std::popcount(mixed_bits({7, 9}) ^ mixed_bits({7, 9 ^ std::uint64_t{1} << i}));
  }
  EXPECT_NEAR(num_flipped / 64.0, 32.0, 3.0);
}

// A purpose makes other keys than any other, for all words that a run may use.
TEST(KeyedHashTest, PurposesShareNoKey) {
  constexpr std::uint64_t kWords = 9;
  std::set<std::uint64_t> hashes;
  std::size_t num_keys = 0;
  for (std::uint64_t number = 0; number <= static_cast<std::uint64_t>(kLastPurpose); ++number) {
    const auto add = [&](std::initializer_list<std::uint64_t> key) {
      hashes.insert(keyed_hash(static_cast<Purpose>(number), key));
      ++num_keys;
    };
    add({});
    for (std::uint64_t i = 0; i < kWords; ++i) {
      add({i});
      for (std::uint64_t j = 0; j < kWords; ++j) {
        add({i, j});
        for (std::uint64_t k = 0; k < kWords; ++k) {
          add({i, j, k});
        }
      }
    }
  }
  EXPECT_EQ(hashes.size(), num_keys);
}

// Stored runs depend on these bits.
TEST(KeyedHashTest, StaysTheSame) {
  EXPECT_EQ(keyed_hash(Purpose::Initialization, {1, 2}), mixed_bits({0, 1, 2}));
  EXPECT_EQ(mixed_bits({0}), 0xB382A305F4414F5EU);
  EXPECT_EQ(mixed_bits({1, 2, 3}), 0xA2C7AE98F4AD087AU);
}

TEST(KeyedHashTest, MapsToTheUnitInterval) {
  double sum = 0.0;
  for (std::uint64_t i = 0; i < 10'000; ++i) {
    const double value = to_unit_interval(mixed_bits({i}));
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
  }
  EXPECT_NEAR(sum / 10'000, 0.5, 0.01);
  EXPECT_LT(to_unit_interval(~std::uint64_t{0}), 1.0);
}

TEST(KeyedPermutationTest, HitsEachIndexOnceForAnySize) {
  for (const std::int64_t size : {1, 2, 3, 4, 5, 7, 16, 17, 63, 64, 65, 1000, 4097}) {
    for (std::uint64_t key = 0; key < 5; ++key) {
      std::vector<std::int64_t> sorted = order(size, key);
      std::sort(sorted.begin(), sorted.end());
      for (std::int64_t i = 0; i < size; ++i) {
        ASSERT_EQ(sorted[static_cast<std::size_t>(i)], i) << "size " << size << " key " << key;
      }
    }
  }
}

// Stored runs depend on this order.
TEST(KeyedPermutationTest, StaysTheSame) {
  EXPECT_EQ(order(10, 7), (std::vector<std::int64_t>{5, 3, 1, 0, 8, 2, 7, 6, 9, 4}));
}

TEST(KeyedPermutationTest, DiffersByKeyAndMixes) {
  EXPECT_EQ(order(1000, 1), order(1000, 1));
  EXPECT_NE(order(1000, 1), order(1000, 2));
  const std::vector<std::int64_t> mixed = order(1000, 3);
  int num_neighbors = 0;
  for (std::size_t i = 1; i < mixed.size(); ++i) {
    num_neighbors += mixed[i] == mixed[i - 1] + 1 ? 1 : 0;
  }
  EXPECT_LT(num_neighbors, 10);
}

TEST(KeyedPermutationTest, ReachesAllOrdersOfThree) {
  std::set<std::vector<std::int64_t>> orders;
  for (std::uint64_t key = 0; key < 200; ++key) {
    orders.insert(order(3, key));
  }
  EXPECT_EQ(orders.size(), 6U);
}

TEST(KeyedPermutationTest, WorksForHugeSizesAndRefusesWrongOnes) {
  const std::int64_t size = (std::int64_t{1} << 62) - 5;
  const KeyedPermutation permutation(size, 1);
  for (std::int64_t i = 0; i < 100; ++i) {
    EXPECT_LT(permutation(size - 1 - i), size);
  }
  EXPECT_THROW(KeyedPermutation(0, 1), std::logic_error);
  EXPECT_THROW(permutation(size), std::logic_error);
  EXPECT_THROW(permutation(-1), std::logic_error);
}

}  // namespace
}  // namespace halfback
