// Randomness without state: a number is a function of its key, so that initialization and data
// order do not depend on ranks, threads or earlier draws.
//
// Mixing function: the finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#pragma once

#include <cstdint>
#include <initializer_list>

namespace halfback {

// What a number is drawn for: the first word of its key, so that no two purposes share a key. The
// bits of a run depend on the order of this list; a new purpose comes at its end.
enum class Purpose : std::uint64_t {
  Initialization,    // of a parameter; key: seed, number of the parameter in the model
  MicroBatch,        // all that is random in its passes; key: seed, step, micro-batch
  Dropout,           // key: that of the micro-batch, place in the model
  Sampling,          // of a generated token; key: seed, number of the token
  TextOrder,         // of sequences; key: seed, epoch
  TextOffset,        // where the first sequence begins; key: seed, epoch
  ImageOrder,        // key: seed, epoch
  ImageLabel,        // drawn in place of the true one; key: seed, image
  Masking,           // of a sequence; key: seed, part of the data, number of the sequence
  MaskedPlaces,      // key: that of the sequence
  MaskedFate,        // key: that of the sequence, number of the place
  MaskedToken,       // that replaces another; key: that of the sequence, number of the place
  SyntheticBatch,    // key: seed, micro-batch
  SyntheticInputs,   // key: that of the batch
  SyntheticTargets,  // key: that of the batch
  SyntheticNumber,   // key: that of inputs or targets, number of the element
  ReplayStage,       // that trains; key: seed, number of the tick
  ImageView,         // an augmented image; key: seed, part of the data, epoch, image, view
  ImageViewNumber,   // that shapes a view; key: that of the view, which number
  SobolDigit,        // flipped by scrambling; key: seed, dimension, place, digits in front
  Resample,          // which value a resample takes; key: seed, resample, place
  PruneScore,        // key: seed, number of the parameter in the model, element
};

// Returns 64 well-mixed bits of purpose and key. Another order or length of the key gives other
// bits.
std::uint64_t keyed_hash(Purpose purpose, std::initializer_list<std::uint64_t> key);

// Returns the same of words without a purpose, for users whose words are keyed already.
std::uint64_t mixed_bits(std::initializer_list<std::uint64_t> words);

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
