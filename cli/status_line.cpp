#include "cli/status_line.h"

#include <fmt/format.h>

#include <iostream>
#include <unistd.h>

namespace halfback::cli {

namespace {

constexpr std::chrono::milliseconds kRedrawInterval{100};
constexpr std::chrono::seconds kLineInterval{5};

}  // namespace

StatusLine::StatusLine()
    : is_terminal_(isatty(STDERR_FILENO) == 1),
      due_at_(Clock::now() + (is_terminal_ ? kRedrawInterval : kLineInterval)) {}

StatusLine::~StatusLine() {
  if (is_terminal_ && has_shown_) {
    std::cerr << "\r\x1b[K" << std::flush;
  }
}

void StatusLine::show(const std::string& text) {
  const Clock::time_point now = Clock::now();
  if (now < due_at_) {
    return;
  }
  std::cerr << (is_terminal_ ? fmt::format("\r{}\x1b[K", text) : text + "\n") << std::flush;
  has_shown_ = true;
  due_at_ = now + (is_terminal_ ? kRedrawInterval : kLineInterval);
}

}  // namespace halfback::cli
