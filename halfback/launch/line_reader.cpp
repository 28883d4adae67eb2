#include "halfback/launch/line_reader.h"

#include <utility>

namespace halfback {

void LineReader::add(std::string_view bytes) {
  constexpr std::size_t kMaxLine = 1 << 16;  // a program that never ends its line is cut
  for (std::size_t end = bytes.find('\n'); end != std::string_view::npos; end = bytes.find('\n')) {
    unfinished_ += bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    keep_last_text();
    on_line_(std::exchange(unfinished_, {}));
  }
  unfinished_ += bytes;
  keep_last_text();
  if (unfinished_.size() > kMaxLine) {
    finish();
  }
}

void LineReader::finish() {
  if (!unfinished_.empty()) {
    on_line_(std::exchange(unfinished_, {}));
  }
}

// A '\r' at the very end overwrites nothing yet.
void LineReader::keep_last_text() {
  const std::size_t start = unfinished_.find_last_of('\r', unfinished_.size() - 2);
  if (unfinished_.size() >= 2 && start != std::string::npos) {
    unfinished_.erase(0, start + 1);
  }
}

}  // namespace halfback
