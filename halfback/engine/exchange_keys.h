// Keys of the exchanges between ranks (Transport::begin_exchange): no two that are under way at
// once between the same ranks have the same one.
#pragma once

namespace halfback::exchange_keys {

inline constexpr int kMaxBuckets = 64;  // of the gradients of one stage
inline constexpr int kPhases = 2;

struct Reduction {
  int stage = 0;
  int bucket = 0;
  int phase = 0;
};
constexpr int of_reduction(const Reduction& one) {
  return (one.stage * kMaxBuckets + one.bucket) * kPhases + one.phase;
}

// Of a stage's values, from the first copy to the others; outside of steps.
constexpr int of_values(int stage) { return of_reduction({.stage = stage}); }

struct TiedGradient {
  int pair = 0;
  int replica = 0;
};
constexpr int of_tied_gradient(const TiedGradient& one, int num_stages, int num_replicas) {
  return of_reduction({.stage = num_stages}) + one.pair * num_replicas + one.replica;
}

}  // namespace halfback::exchange_keys
