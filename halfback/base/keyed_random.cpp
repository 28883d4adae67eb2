#include "halfback/base/keyed_random.h"

#include "halfback/base/error.h"

#include <numeric>
#include <string>

namespace halfback {

namespace {

// The increment of SplitMix64: 2^64 / golden ratio.
constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15U;
constexpr int kNumRounds = 6;

std::uint64_t mix(std::uint64_t value) {
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
  return value ^ (value >> 31);
}

std::uint64_t absorb(std::uint64_t hash, std::uint64_t word) {
  return mix(hash + kGolden + mix(word + kGolden));
}

}  // namespace

std::uint64_t keyed_hash(Purpose purpose, std::initializer_list<std::uint64_t> key) {
  return std::accumulate(key.begin(), key.end(),
                         absorb(kGolden, static_cast<std::uint64_t>(purpose)), absorb);
}

std::uint64_t mixed_bits(std::initializer_list<std::uint64_t> words) {
  return std::accumulate(words.begin(), words.end(), kGolden, absorb);
}

double to_unit_interval(std::uint64_t hash) { return static_cast<double>(hash >> 11) * 0x1.0p-53; }

KeyedPermutation::KeyedPermutation(std::int64_t size, std::uint64_t key)
    : size_(static_cast<std::uint64_t>(size)), key_(key) {
  HALFBACK_CHECK(size >= 1 && size <= std::int64_t{1} << 62, std::to_string(size));
  while ((std::uint64_t{1} << (2 * half_bits_)) < size_) {
    ++half_bits_;
  }
}

std::uint64_t KeyedPermutation::encrypt(std::uint64_t value) const {
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (std::uint64_t round = 0; round < kNumRounds; ++round) {
    const std::uint64_t next = left ^ (mixed_bits({key_, round, right}) & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

std::int64_t KeyedPermutation::operator()(std::int64_t index) const {
  auto value = static_cast<std::uint64_t>(index);
  HALFBACK_CHECK(value < size_, std::to_string(index) + " of " + std::to_string(size_));
  do {
    value = encrypt(value);
  } while (value >= size_);
  return static_cast<std::int64_t>(value);
}

}  // namespace halfback
