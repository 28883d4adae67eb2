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

struct GradientReduction::Task {
  Job job;
  double start_seconds = 0.0;
  double cpu_seconds = 0.0;
  std::vector<Bucket> buckets;

  std::size_t own() const { return static_cast<std::size_t>(job.replicas.rank()); }
};

GradientReduction::GradientReduction(int rank, const RankDevice& device)
    : rank_(rank),
      device_(device),
      gathers_([this] { device_.enter(); }),
      scatters_([this] { device_.enter(); }) {}

void GradientReduction::begin(const Job& job) {
  const auto task = std::make_shared<Task>(Task{.job = job, .start_seconds = now_seconds()});
  const std::int64_t total = job.gradients.numel();
  const std::int64_t size = std::max(kBucketElements, divided_up(total, kMostBuckets));
  for (std::int64_t begin = 0; begin < total; begin += size) {
    scatter(*task, job.gradients.narrow(0, begin, std::min(size, total - begin)));
  }
  scatters_.add([this, task] {
    sum_up(*task);
    gathers_.add([this, task] { gather(*task); });
  });
}

std::vector<Span> GradientReduction::finish() {
  scatters_.finish();
  gathers_.finish();
  const std::lock_guard lock(mutex_);
  return std::exchange(spans_, {});
}

// Sends every replica its shard of a new bucket, and receives their parts of its own.
void GradientReduction::scatter(Task& task, const at::Tensor& elements) {
  const MemoryOwner on_its_way(kNoRank);
  Bucket bucket{.shards = shards_of(elements, static_cast<std::size_t>(task.job.replicas.size()))};
  const at::Tensor& own = bucket.shards[task.own()];
  for (std::size_t replica = 0; replica < bucket.shards.size(); ++replica) {
    bucket.parts.push_back(replica == task.own() ? own : at::empty_like(own));
  }
  bucket.scatter = task.job.replicas.begin_exchange(bucket.shards, bucket.parts);
  task.buckets.push_back(std::move(bucket));
}

// Adds up the own shard of each bucket as it arrives, sends it to every replica and receives
// theirs.
void GradientReduction::sum_up(Task& task) {
  const double cpu_start = thread_cpu_seconds();
  for (Bucket& bucket : task.buckets) {
    bucket.scatter->wait();
    bucket.shards[task.own()].copy_(pairwise_sum(bucket.parts));
    device_.wait();
    bucket.parts.clear();
    bucket.gather = task.job.replicas.begin_all_gather(bucket.shards);
  }
  task.cpu_seconds += thread_cpu_seconds() - cpu_start;
}

void GradientReduction::gather(Task& task) {
  const double cpu_start = thread_cpu_seconds();
  for (Bucket& bucket : task.buckets) {
    bucket.gather->wait();
  }
  const std::lock_guard lock(mutex_);
  spans_.push_back({.rank = rank_,
                    .action = task.job.action,
                    .start_seconds = task.start_seconds,
                    .end_seconds = now_seconds(),
                    .cpu_seconds = task.cpu_seconds + thread_cpu_seconds() - cpu_start});
}

}  // namespace halfback
