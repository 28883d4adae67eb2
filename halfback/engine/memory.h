// Counts the exact memory of each rank: a CPU allocator counts every byte to the rank that
// requested it. Freed blocks are kept for the next request of the same size, so a steady state
// neither allocates nor touches new pages.
//
// Bytes are those that tensors request, without rounding. A tensor that is handed to another rank
// is counted there from then on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace halfback {

// Whom a byte is counted to: rank 0, 1, ..., or kNoRank for everything outside the ranks (the
// mini-batch, tensors in transit).
inline constexpr int kNoRank = -1;
inline constexpr int kMaxCountedRanks = 1022;

// Makes the counting allocator the CPU allocator of this process. Call before the first tensor;
// further calls do nothing.
void install_counting_allocator();

// While it lives, what this thread allocates is counted to `rank`.
class MemoryOwner {
 public:
  explicit MemoryOwner(int rank);
  MemoryOwner(const MemoryOwner&) = delete;
  MemoryOwner& operator=(const MemoryOwner&) = delete;
  ~MemoryOwner();

 private:
  int previous_;
};

// Counts the tensor's storage to `rank` from now on. Storage from another allocator is left alone.
void hand_over(const at::Tensor& tensor, int rank);

// Live bytes of the rank, and their peak since the last reset_peak.
std::int64_t live_bytes(int rank);
std::int64_t peak_bytes(int rank);
void reset_peak(int rank);

// Returns freed blocks of every rank to the system.
void release_cached_memory();

}  // namespace halfback
