#include "halfback/engine/gradient_reduction.h"

#include "halfback/base/error.h"
#include "halfback/engine/clock.h"
#include "halfback/engine/memory.h"
#include "halfback/group/pairwise_sum.h"
#include "halfback/group/shards.h"

#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <utility>

namespace halfback {

namespace {

constexpr std::int64_t kBucketElements = std::int64_t{1} << 20;
constexpr std::int64_t kMostBuckets = 64;  // of one stage

std::int64_t divided_up(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

}  // namespace

// A bucket in transit through the two exchanges.
struct GradientReduction::Bucket {
  Group::Parts shards;  // views of the gradients, by replica
  Group::Parts parts;   // of the own shard, by replica; the own one in place
  std::unique_ptr<Exchange> scatter;
  std::unique_ptr<Exchange> gather;
};

GradientReduction::GradientReduction(int rank, Group& replicas, const RankDevice& device)
    : replicas_(replicas), device_(device), span_{.rank = rank}, thread_([this] {
        device_.enter();
      }) {}

GradientReduction::~GradientReduction() = default;

void GradientReduction::begin(const Action& action, const at::Tensor& gradients) {
  has_begun_ = true;
  span_.action = action;
  span_.start_seconds = now_seconds();
  const std::int64_t total = gradients.numel();
  const std::int64_t size = std::max(kBucketElements, divided_up(total, kMostBuckets));
  for (std::int64_t begin = 0; begin < total; begin += size) {
    scatter(gradients.narrow(0, begin, std::min(size, total - begin)));
  }
  thread_.add([this] { sum_up(); });
}

Span GradientReduction::finish() {
  thread_.finish();
  has_begun_ = false;
  buckets_.clear();
  return span_;
}

// Sends every replica its shard of a new bucket, and receives their parts of its own.
void GradientReduction::scatter(const at::Tensor& elements) {
  const MemoryOwner on_its_way(kNoRank);
  Bucket bucket{.shards = shards_of(elements, static_cast<std::size_t>(replicas_.size()))};
  const at::Tensor& sum = bucket.shards[own()];
  for (std::size_t replica = 0; replica < bucket.shards.size(); ++replica) {
    bucket.parts.push_back(replica == own() ? sum : at::empty_like(sum));
  }
  bucket.scatter = replicas_.begin_exchange(bucket.shards, bucket.parts);
  buckets_.push_back(std::move(bucket));
}

// Adds up the own shard of each bucket as it arrives, sends it to every replica and receives
// theirs.
void GradientReduction::sum_up() {
  const double cpu_start = thread_cpu_seconds();
  for (Bucket& bucket : buckets_) {
    bucket.scatter->wait();
    bucket.shards[own()].copy_(pairwise_sum(bucket.parts));
    device_.wait();
    bucket.parts.clear();
    bucket.gather = replicas_.begin_all_gather(bucket.shards);
  }
  for (Bucket& bucket : buckets_) {
    bucket.gather->wait();
  }
  span_.end_seconds = now_seconds();
  span_.cpu_seconds = thread_cpu_seconds() - cpu_start;
}

}  // namespace halfback
