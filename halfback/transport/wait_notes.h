// Notes about a long wait, so that nobody takes it for a hang.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace halfback {

class WaitNotes {
 public:
  using Report = std::function<void(const std::string& text)>;

  // Calls `report` after this time, and then less and less often. `report` may be empty.
  WaitNotes(Report report, std::chrono::duration<double> after)
      : report_(std::move(report)), pause_(after), due_at_(Clock::now() + pause_) {}

  // Call it repeatedly while waiting. An empty text is not reported.
  void look(const std::function<std::string()>& text) {
    if (!report_ || Clock::now() < due_at_) {
      return;
    }
    if (const std::string note = text(); !note.empty()) {
      report_(note);
    }
    pause_ *= 4;
    due_at_ = Clock::now() + pause_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;

  Report report_;
  Seconds pause_;
  std::chrono::time_point<Clock, Seconds> due_at_;
};

}  // namespace halfback
