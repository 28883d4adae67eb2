// Randomness without state: a number is a function of its key, so that initialization and data
// order do not depend on ranks, threads or earlier draws.
//
// Mixing function: the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#pragma once

#include <cstdint>
#include <initializer_list>

namespace halfback {

// Returns 64 well-mixed bits of the key. Keys that differ in order or length give different bits.
std::uint64_t keyed_hash(std::initializer_list<std::uint64_t> key);

// Returns a number in [0, 1) from the upper 53 bits of a hash.
double to_unit_interval(std::uint64_t hash);

// A permutation of 0 .. size-1 that needs no table: a Feistel network over the next even power of
// two, repeated until the result is below the size. Equal size and key give equal permutations.
class KeyedPermutation {
 public:
  // `size` is from 1 to 2^62.
  KeyedPermutation(std::int64_t size, std::uint64_t key);

  // Returns the new place of `index`, both in [0, size). On average it runs the network at most
  // four times.
  std::int64_t operator()(std::int64_t index) const;

 private:
  std::uint64_t encrypt(std::uint64_t value) const;

  std::uint64_t size_;
  std::uint64_t key_;
  int half_bits_ = 1;
};

}  // namespace halfback
