#include "halfback/engine/job_thread.h"

#include <c10/core/InferenceMode.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

namespace halfback {

struct JobThread::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> jobs;
  bool is_running = false;
  bool is_ending = false;
  std::exception_ptr error;
  std::thread thread;

  void serve() {
    const c10::InferenceMode no_graph;
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return is_ending || !jobs.empty(); });
      if (is_ending) {
        return;
      }
      std::function<void()> job = std::move(jobs.front());
      jobs.pop_front();
      is_running = true;
      lock.unlock();
      std::exception_ptr thrown;
      try {
        job();
      } catch (...) {
        thrown = std::current_exception();
      }
      job = nullptr;
      lock.lock();
      is_running = false;
      if (thrown && !error) {
        error = std::move(thrown);
      }
      changed.notify_all();
    }
  }
};

JobThread::JobThread(std::function<void()> enter) : state_(std::make_unique<State>()) {
  state_->thread = std::thread([state = state_.get(), enter = std::move(enter)] {
    enter();
    state->serve();
  });
}

JobThread::~JobThread() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->is_ending = true;
  }
  state_->changed.notify_all();
  state_->thread.join();
}

void JobThread::add(std::function<void()> job) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->jobs.push_back(std::move(job));
  }
  state_->changed.notify_all();
}

void JobThread::finish() {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock, [this] { return state_->jobs.empty() && !state_->is_running; });
  if (state_->error) {
    std::rethrow_exception(std::exchange(state_->error, {}));
  }
}

}  // namespace halfback
