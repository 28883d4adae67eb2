// One thread for each rank of this process. They live as long as the pipeline, so that thread pools
// and caches stay warm. A rank does its works one after the other and waits for no other rank
// between them. A single rank may also work on the thread that waits for it.
#pragma once

#include <functional>
#include <memory>
#include <vector>

namespace halfback {

class RankThreads {
 public:
  // Caller: the only rank works inside wait(), and how many threads operators use stays as it is.
  enum class Where { Threads, Caller };
  // `threads_per_rank` is how many ATen may use inside an operator; the same on every rank.
  RankThreads(const std::vector<int>& ranks, int threads_per_rank, Where where = Where::Threads);
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;
  // Waits for everything that was begun; on the caller's thread, nothing more of it runs.
  ~RankThreads();

  using Work = std::function<void(int rank)>;
  struct Begun;

  // Begins a work on every rank's thread, behind the works that were begun before.
  std::shared_ptr<Begun> begin(Work work);

  // Waits until all ranks have done a work. If one of them has failed, ranks leave out what was
  // begun behind it: this waits for all of them, and throws the first error, or TransportError if
  // they were stopped from outside. The threads live on.
  void wait(const Begun& begun);

  void run(Work work) { wait(*begin(std::move(work))); }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halfback
