// The progress of long work, on standard error: a line that overwrites itself on a terminal, and an
// occasional line elsewhere.
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

  // Shows the text if it is due: ten times a second on a terminal, every 5 s elsewhere.
  void show(const std::string& text);

 private:
  using Clock = std::chrono::steady_clock;

  bool is_terminal_;
  bool has_shown_ = false;
  Clock::time_point due_at_;
};

}  // namespace halfback::cli
