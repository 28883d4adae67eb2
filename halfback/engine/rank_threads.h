// One thread for each rank of this process. They live as long as the pipeline, so that thread pools
// and caches stay warm.
#pragma once

#include <functional>
#include <memory>
#include <vector>

namespace halfback {

class RankThreads {
 public:
  // `threads_per_rank` is how many ATen may use inside an operator; the same on every rank.
  RankThreads(const std::vector<int>& ranks, int threads_per_rank);
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;
  ~RankThreads();

  // Runs work(rank) on every rank's thread and waits for all of them. Throws the first exception of
  // any.
  void run(const std::function<void(int)>& work);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halfback
