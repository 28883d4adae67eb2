// The sum of a stage's gradients over all replicas of the stage (data parallelism, schedules with
// replicas), under way while the rank computes on.
//
// Each replica owns an equal part of the elements: it gets that part of all others (scatter), adds
// the parts pairwise in the order of the replicas (pairwise_sum.h), and gives the sum to all
// (gather). So every element has one order of sums, each rank sends and receives 2 (D - 1) / D of
// the gradients of D replicas, which is what a ring moves, and all replicas end with the same bits.
// Large stages go in buckets: while one is added up, the next is on its way.
//
// Two ranks may begin the sums of two stages in different order. So scatters never wait for
// gathers: each of the two has a thread.
#pragma once

#include "halfback/engine/device.h"
#include "halfback/engine/job_thread.h"
#include "halfback/group/group.h"
#include "halfback/timeline/timeline.h"

#include <ATen/core/Tensor.h>

#include <memory>
#include <mutex>
#include <vector>

namespace halfback {

class GradientReduction {
 public:
  // What it needs is counted to no rank, as messages are. The device must outlive it.
  GradientReduction(int rank, const RankDevice& device);

  // Begins the sum of one stage into `gradients`, a flat buffer, and does not wait.
  struct Job {
    Action action;  // for its span
    at::Tensor gradients;
    Group& replicas;  // of the stage; must last until finish()
  };
  void begin(const Job& job);

  // Waits until all that began is done and returns the spans, on the clock of now_seconds(). Throws
  // what went wrong.
  std::vector<Span> finish();

 private:
  struct Task;
  struct Bucket;
  void scatter(Task& task, const at::Tensor& elements);
  void sum_up(Task& task);
  void gather(Task& task);

  int rank_;
  const RankDevice& device_;
  std::mutex mutex_;
  std::vector<Span> spans_;
  JobThread gathers_;
  JobThread scatters_;  // adds to the gathers
};

}  // namespace halfback
