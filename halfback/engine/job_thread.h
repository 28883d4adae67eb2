// A thread that runs what it is given, one after the other, without autograd graphs.
#pragma once

#include <functional>
#include <memory>

namespace halfback {

class JobThread {
 public:
  // `enter` is run first, on the thread.
  explicit JobThread(std::function<void()> enter);
  JobThread(const JobThread&) = delete;
  JobThread& operator=(const JobThread&) = delete;
  // Leaves out what has not begun.
  ~JobThread();

  // Does not wait. From any thread.
  void add(std::function<void()> job);

  // Waits until nothing is left to do. Throws the first exception that a job let out since.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halfback
