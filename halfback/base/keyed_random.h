// Randomness without state: a number is a function of its key, so that initialization and data
// order do not depend on ranks, threads or earlier draws.
//
// Mixing function: the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#pragma once

#include <cstdint>
#include <initializer_list>

namespace halfback {

// Returns 64 well-mixed bits of the key. Another order or length of the key gives other bits.
std::uint64_t keyed_hash(std::initializer_list<std::uint64_t> key);

// Returns a number in [0, 1) with 53 bits out of a hash.
double to_unit_interval(std::uint64_t hash);

// A permutation of 0 .. size-1 that needs no table: a Feistel network over the next even power of
// two, walked until it falls inside. Equal size and key give equal permutations.
class KeyedPermutation {
 public:
  // `size` is from 1 to 2^62.
  KeyedPermutation(std::int64_t size, std::uint64_t key);

  // Returns where `index`, in [0, size), goes. Takes about four walks at most on average.
  std::int64_t operator()(std::int64_t index) const;

 private:
  std::uint64_t encrypt(std::uint64_t value) const;

  std::uint64_t size_;
  std::uint64_t key_;
  int half_bits_ = 1;
};

}  // namespace halfback
