// Signals that a thread waits for, as it does for files, without handlers that interrupt it.
#pragma once

#include <csignal>
#include <initializer_list>
#include <optional>

namespace halfback {

// While it lives, these signals do not act on this process but wait to be taken. Create it before
// any thread, because threads inherit which signals are blocked.
class SignalQueue {
 public:
  SignalQueue(std::initializer_list<int> signals);
  ~SignalQueue();
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;

  // Becomes readable, for poll(), when a signal has come.
  int descriptor() const { return descriptor_; }

  // Returns the next signal, if any.
  std::optional<int> take();

 private:
  sigset_t before_{};
  int descriptor_ = -1;
};

}  // namespace halfback
