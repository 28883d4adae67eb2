// Sums a stage's gradients over all replicas of the stage (data parallelism, schedules with
// replicas), while the rank continues to compute.
//
// Each replica owns an equal part of the elements: it receives that part from all others (scatter),
// adds the parts pairwise in the order of the replicas (pairwise_sum.h), and sends the sum to all
// (gather). So every element is summed in one order, and all replicas end with the same bits. With
// D replicas, each rank sends and receives 2 (D - 1) / D times its gradients, as in a ring. Large
// stages are split into buckets: while one is added up, the next is in transit.
//
// Two ranks may begin the sums of two stages in different orders. So scatters never wait for
// gathers: each of the two has its own thread.
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
  // Like messages, its memory is counted to no rank. The device must outlive it.
  GradientReduction(int rank, const RankDevice& device);

  // Begins the sum of one stage into `gradients`, a flat buffer, without waiting.
  struct Job {
    Action action;  // for its span
    at::Tensor gradients;
    Group& replicas;  // of the stage; must last until finish()
  };
  void begin(const Job& job);

  // Waits until all sums are done and returns their spans, on the clock of now_seconds(). Throws
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
