// Notes about a long wait, so that nobody takes it for a hang.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace halfback {

class WaitNotes {
 public:
  using Tell = std::function<void(const std::string& text)>;

  // Calls `tell` when the time has passed, and then less and less often. It may be empty.
  WaitNotes(Tell tell, std::chrono::duration<double> after)
      : tell_(std::move(tell)), pause_(after), due_at_(Clock::now() + pause_) {}

  // To be called again and again. An empty text is not passed on.
  void look(const std::function<std::string()>& text) {
    if (!tell_ || Clock::now() < due_at_) {
      return;
    }
    if (const std::string told = text(); !told.empty()) {
      tell_(told);
    }
    pause_ *= 4;
    due_at_ = Clock::now() + pause_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;

  Tell tell_;
  Seconds pause_;
  std::chrono::time_point<Clock, Seconds> due_at_;
};

}  // namespace halfback
