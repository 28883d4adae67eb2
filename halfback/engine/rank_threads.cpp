#include "halfback/engine/rank_threads.h"

#include "halfback/base/error.h"
#include "halfback/engine/memory.h"
#include "halfback/transport/transport.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

namespace halfback {

struct RankThreads::Begun {
  Work work;
  std::uint64_t number = 0;     // in the order of begin()
  std::size_t num_running = 0;  // ranks that have not done it
  bool is_whole = true;         // no rank has failed in it, or left it out because of a failure
};

struct RankThreads::State {
  std::mutex mutex;
  std::condition_variable changed;
  int threads_per_rank = 1;
  std::map<int, std::deque<std::shared_ptr<Begun>>> works;  // by rank, oldest first
  std::uint64_t num_begun = 0;
  std::optional<std::uint64_t> failed;  // the first work in which a rank has failed
  std::exception_ptr error;             // the first; none if all ranks were stopped from outside
  bool is_ending = false;
  Where where = Where::Threads;
  std::vector<std::thread> threads;

  void serve(int rank) {
    const MemoryOwner owner(rank);
    const c10::InferenceMode no_graph;
    std::unique_lock lock(mutex);
    at::set_num_threads(threads_per_rank);  // and of libraries that have one number for all threads
    auto& own = works.at(rank);
    while (true) {
      changed.wait(lock, [&] { return is_ending || !own.empty(); });
      if (own.empty()) {
        return;
      }
      do_next(rank, lock);
      changed.notify_all();
    }
  }

  // Does the oldest work of a rank, or leaves it out if an earlier one has failed.
  void do_next(int rank, std::unique_lock<std::mutex>& lock) {
    auto& own = works.at(rank);
    Begun& next = *own.front();
    if (failed && *failed < next.number) {
      next.is_whole = false;
    } else {
      lock.unlock();
      const std::exception_ptr thrown = thrown_by(next.work, rank);
      lock.lock();
      note(thrown, next);
    }
    --next.num_running;
    own.pop_front();
  }

  // Does what was begun up to this work, or all of it after a failure.
  void work_until(const Begun& begun, std::unique_lock<std::mutex>& lock) {
    const auto& [rank, own] = *works.begin();
    const MemoryOwner owner(rank);
    const c10::InferenceMode no_graph;
    while (!own.empty() && (begun.num_running > 0 || failed)) {
      do_next(rank, lock);
    }
  }

  static std::exception_ptr thrown_by(const Work& work, int rank) {
    try {
      work(rank);
      return {};
    } catch (...) {
      return std::current_exception();
    }
  }

  // A rank that was stopped is not the cause: the error of another rank is.
  void note(const std::exception_ptr& thrown, Begun& begun) {
    if (!thrown) {
      return;
    }
    failed = std::min(failed.value_or(begun.number), begun.number);
    begun.is_whole = false;
    try {
      std::rethrow_exception(thrown);
    } catch (const StoppedError&) {
    } catch (...) {
      if (!error) {
        error = thrown;
      }
    }
  }

  bool is_idle() const {
    return std::ranges::all_of(works, [](const auto& one) { return one.second.empty(); });
  }
};

RankThreads::RankThreads(const std::vector<int>& ranks, int threads_per_rank, Where where)
    : state_(std::make_unique<State>()) {
  HALFBACK_CHECK(where == Where::Threads || ranks.size() == 1, "one rank on the caller's thread");
  state_->threads_per_rank = threads_per_rank;
  state_->where = where;
  for (const int rank : ranks) {
    state_->works[rank];
  }
  if (where == Where::Caller) {
    return;
  }
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

std::shared_ptr<RankThreads::Begun> RankThreads::begin(Work work) {
  const std::lock_guard lock(state_->mutex);
  const auto begun = std::make_shared<Begun>(Begun{
      .work = std::move(work), .number = state_->num_begun++, .num_running = state_->works.size()});
  for (auto& [rank, works] : state_->works) {
    works.push_back(begun);
  }
  state_->changed.notify_all();
  return begun;
}

void RankThreads::wait(const Begun& begun) {
  std::unique_lock lock(state_->mutex);
  if (state_->where == Where::Caller) {
    state_->work_until(begun, lock);
  }
  state_->changed.wait(lock, [&] { return begun.num_running == 0; });
  if (begun.is_whole) {
    return;
  }
  state_->changed.wait(lock, [&] { return state_->is_idle(); });
  state_->failed.reset();
  if (state_->error) {
    std::rethrow_exception(std::exchange(state_->error, {}));
  }
  throw TransportError("the run was stopped from outside");
}

}  // namespace halfback
