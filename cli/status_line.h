// How far long work is, for people: on standard error, a line that overwrites itself on a terminal,
// and one now and then elsewhere.
#pragma once

#include <chrono>
#include <string>

namespace halfback::cli {

class StatusLine {
 public:
  StatusLine();
  // Clears the line.
  ~StatusLine();
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  // Shows the text if it is time again: on a terminal ten times a second, elsewhere every 5 s.
  void show(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;

  bool is_terminal_;
  bool has_shown_ = false;
  Clock::time_point due_at_;
};

}  // namespace halfback::cli
