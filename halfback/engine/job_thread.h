// A thread that runs jobs one after the other, without autograd graphs.
#pragma once

#include <functional>
#include <memory>

namespace halfback {

class JobThread {
 public:
  // The thread first calls `enter`.
  explicit JobThread(std::function<void()> enter);
  JobThread(const JobThread&) = delete;
  JobThread& operator=(const JobThread&) = delete;
  // Drops jobs that have not begun.
  ~JobThread();

  // Does not wait. May be called from any thread.
  void add(std::function<void()> job);

  // Waits until no job is left. Throws the first exception of a job since the last call.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halfback
