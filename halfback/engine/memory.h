// Exact memory of each rank: a CPU allocator that counts every byte to the rank that asked for it,
// and keeps freed blocks for the next request of that size, so that a steady state neither
// allocates nor touches new pages.
//
// Bytes are those that tensors ask for, without rounding. A tensor that is handed to another rank
// is counted there from then on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace halfback {

// Who a byte is counted to. Ranks are 0, 1, ...; everything outside the ranks (the mini-batch,
// tensors on their way) is kNoRank.
inline constexpr int kNoRank = -1;
inline constexpr int kMaxCountedRanks = 1022;

// Makes the counting allocator the CPU allocator of this process. Call before the first tensor;
// more calls do nothing.
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

// Counts the tensor's storage to `rank` from now on. Storage that the counting allocator did not
// make is left alone.
void hand_over(const at::Tensor& tensor, int rank);

// Bytes of the rank that are alive now, and the most since the last reset_peak.
std::int64_t live_bytes(int rank);
std::int64_t peak_bytes(int rank);
void reset_peak(int rank);

// Returns freed blocks of every rank to the system.
void release_cached_memory();

}  // namespace halfback
