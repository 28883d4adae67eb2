#include "halfback/engine/rank_threads.h"

#include "halfback/engine/memory.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace halfback {

struct RankThreads::State {
  std::mutex mutex;
  std::condition_variable changed;
  const std::function<void(int)>* work = nullptr;
  std::uint64_t generation = 0;
  int threads_per_rank = 1;
  int num_running = 0;
  std::exception_ptr error;
  bool is_ending = false;
  std::vector<std::thread> threads;

  void serve(int rank) {
    const MemoryOwner owner(rank);
    const c10::InferenceMode no_graph;
    std::uint64_t done = 0;
    std::unique_lock lock(mutex);
    at::set_num_threads(threads_per_rank);  // and of libraries that have one number for all threads
    while (true) {
      changed.wait(lock, [&] { return is_ending || generation != done; });
      if (is_ending) {
        return;
      }
      done = generation;
      const auto& job = *work;
      lock.unlock();
      std::exception_ptr thrown;
      try {
        job(rank);
      } catch (...) {
        thrown = std::current_exception();
      }
      lock.lock();
      if (thrown && !error) {
        error = std::move(thrown);
      }
      if (--num_running == 0) {
        changed.notify_all();
      }
    }
  }
};

RankThreads::RankThreads(const std::vector<int>& ranks, int threads_per_rank)
    : state_(std::make_unique<State>()) {
  state_->threads_per_rank = threads_per_rank;
  for (const int rank : ranks) {
    state_->threads.emplace_back([state = state_.get(), rank] { state->serve(rank); });
  }
}

RankThreads::~RankThreads() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->is_ending = true;
  }
  state_->changed.notify_all();
  for (std::thread& thread : state_->threads) {
    thread.join();
  }
}

void RankThreads::run(const std::function<void(int)>& work) {
  std::unique_lock lock(state_->mutex);
  state_->work = &work;
  state_->num_running = static_cast<int>(state_->threads.size());
  ++state_->generation;
  state_->changed.notify_all();
  state_->changed.wait(lock, [this] { return state_->num_running == 0; });
  if (state_->error) {
    std::rethrow_exception(std::exchange(state_->error, {}));
  }
}

}  // namespace halfback
