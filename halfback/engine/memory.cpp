#include "halfback/engine/memory.h"

#include "halfback/base/error.h"

#include <c10/core/Allocator.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace halfback {

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::int64_t kCacheFloor = std::int64_t{256} << 20;

// Precedes every block.
struct alignas(kAlignment) Header {
  std::int64_t bytes;      // asked for
  std::atomic<int> owner;  // counted to, as an index of `ranks`
  int home;                // whose cache the block goes back to
};

struct Rank {
  std::atomic<std::int64_t> live{0};
  std::atomic<std::int64_t> peak{0};
  std::mutex mutex;  // of the two below
  std::unordered_map<std::int64_t, std::vector<Header*>> cached;
  std::int64_t cached_bytes = 0;

  void add(std::int64_t bytes) {
    const std::int64_t now = live.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    std::int64_t seen = peak.load(std::memory_order_relaxed);
    while (now > seen && !peak.compare_exchange_weak(seen, now, std::memory_order_relaxed)) {
    }
  }
  void remove(std::int64_t bytes) { live.fetch_sub(bytes, std::memory_order_relaxed); }
};

// Never destroyed: tensors of static lifetime may be freed after everything else.
std::array<Rank, kMaxCountedRanks + 1>& ranks() {
  static auto* const all = new std::array<Rank, kMaxCountedRanks + 1>();
  return *all;
}

Rank& rank_at(int index) { return ranks()[static_cast<std::size_t>(index)]; }
int index_of(int rank) { return rank + 1; }

thread_local int current_owner = index_of(kNoRank);

Header* header_of(void* data) {
  return std::launder(reinterpret_cast<Header*>(static_cast<char*>(data) - sizeof(Header)));
}

Header* take_cached(Rank& home, std::int64_t bytes) {
  const std::lock_guard lock(home.mutex);
  const auto found = home.cached.find(bytes);
  if (found == home.cached.end() || found->second.empty()) {
    return nullptr;
  }
  Header* const header = found->second.back();
  found->second.pop_back();
  home.cached_bytes -= bytes;
  return header;
}

Header* allocate_block(std::int64_t bytes) {
  const std::size_t total = sizeof(Header) + static_cast<std::size_t>(bytes);
  void* const raw =
      std::aligned_alloc(kAlignment, (total + kAlignment - 1) / kAlignment * kAlignment);
  if (raw == nullptr) {
    throw Error("memory: " + std::to_string(bytes) +
                " bytes were refused by the system; use smaller micro-batches, fewer of them in "
                "flight, or more ranks");
  }
  return new (raw) Header;
}

void release(Header* header) {
  header->~Header();
  std::free(header);
}

void deallocate(void* data) {
  if (data == nullptr) {
    return;
  }
  Header* const header = header_of(data);
  rank_at(header->owner.load(std::memory_order_relaxed)).remove(header->bytes);
  Rank& home = rank_at(header->home);
  // A rank never needs more than its peak at once.
  const std::int64_t limit = std::max(kCacheFloor, home.peak.load(std::memory_order_relaxed));
  {
    const std::lock_guard lock(home.mutex);
    if (home.cached_bytes + header->bytes <= limit) {
      home.cached[header->bytes].push_back(header);
      home.cached_bytes += header->bytes;
      return;
    }
  }
  release(header);
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t num_bytes) override {
    const c10::Device device(c10::DeviceType::CPU);
    if (num_bytes == 0) {
      return {nullptr, nullptr, &deallocate, device};
    }
    const auto bytes = static_cast<std::int64_t>(num_bytes);
    const int owner = current_owner;
    Rank& rank = rank_at(owner);
    Header* header = take_cached(rank, bytes);
    if (header == nullptr) {
      header = allocate_block(bytes);
      header->bytes = bytes;
      header->home = owner;
    }
    header->owner.store(owner, std::memory_order_relaxed);
    rank.add(bytes);
    void* const data = header + 1;
    return {data, data, &deallocate, device};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &deallocate; }

  void copy_data(void* to, const void* from, std::size_t count) const override {
    std::memcpy(to, from, count);
  }
};

}  // namespace

void install_counting_allocator() {
  static CountingAllocator* const allocator = [] {
    auto* const made = new CountingAllocator();
    constexpr std::uint8_t kHighPriority = 100;
    c10::SetAllocator(c10::kCPU, made, kHighPriority);
    return made;
  }();
  static_cast<void>(allocator);
}

MemoryOwner::MemoryOwner(int rank) : previous_(std::exchange(current_owner, index_of(rank))) {
  HALFBACK_CHECK(rank >= kNoRank && rank < kMaxCountedRanks, std::to_string(rank));
}

MemoryOwner::~MemoryOwner() { current_owner = previous_; }

void hand_over(const at::Tensor& tensor, int rank) {
  const c10::DataPtr& data = tensor.storage().data_ptr();
  if (data.get() == nullptr || data.get_deleter() != &deallocate) {
    return;
  }
  Header* const header = header_of(data.get_context());
  const int owner = index_of(rank);
  const int previous = header->owner.exchange(owner, std::memory_order_relaxed);
  if (previous != owner) {
    rank_at(previous).remove(header->bytes);
    rank_at(owner).add(header->bytes);
  }
}

std::int64_t live_bytes(int rank) { return rank_at(index_of(rank)).live.load(); }
std::int64_t peak_bytes(int rank) { return rank_at(index_of(rank)).peak.load(); }

void reset_peak(int rank) {
  Rank& counted = rank_at(index_of(rank));
  counted.peak.store(counted.live.load());
}

void release_cached_memory() {
  for (Rank& rank : ranks()) {
    const std::lock_guard lock(rank.mutex);
    for (auto& [bytes, blocks] : rank.cached) {
      for (Header* const header : blocks) {
        release(header);
      }
    }
    rank.cached.clear();
    rank.cached_bytes = 0;
  }
}

}  // namespace halfback
