// Sums the gradients of one stage over all replicas of the stage (data parallelism, schedules with
// replicas), while the rank continues to compute.
//
// Each replica owns an equal part of the elements: it receives that part from all others (scatter),
// adds the parts pairwise in the order of the replicas (pairwise_sum.h), and sends the sum to all
// (gather). So every element is summed in one order, and all replicas end with the same bits. With
// D replicas, each rank sends and receives 2 (D - 1) / D times its gradients, as in a ring. Large
// stages are split into buckets: while one is added up, the next is in transit.
//
// Two ranks may begin the sums of two stages in different orders, and a list may wait for one of
// them. So each stage has its own thread.
#pragma once

#include "halfback/engine/device.h"
#include "halfback/engine/job_thread.h"
#include "halfback/group/group.h"
#include "halfback/timeline/timeline.h"

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <vector>

namespace halfback {

class GradientReduction {
 public:
  // `replicas` are those of the stage, and this rank's is its own member. Both must outlive it.
  GradientReduction(int rank, Group& replicas, const RankDevice& device);
  ~GradientReduction();

  // Begins the sum into `gradients`, a flat buffer, without waiting. Like messages, what it needs
  // is counted to no rank. The action is for its span.
  void begin(const Action& action, const at::Tensor& gradients);
  bool has_begun() const { return has_begun_; }

  // Waits until the sum is done and returns its span, on the clock of now_seconds(). Throws what
  // went wrong.
  Span finish();

 private:
  struct Bucket;
  void scatter(const at::Tensor& elements);
  void sum_up();

  std::size_t own() const { return static_cast<std::size_t>(replicas_.rank()); }

  Group& replicas_;
  const RankDevice& device_;
  bool has_begun_ = false;
  Span span_;
  std::vector<Bucket> buckets_;
  JobThread thread_;
};

}  // namespace halfback
