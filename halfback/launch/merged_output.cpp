#include "halfback/launch/merged_output.h"

#include <fmt/format.h>

#include <unistd.h>

namespace halfback {

MergedOutput::MergedOutput(int descriptor)
    : descriptor_(descriptor), is_terminal_(::isatty(descriptor) == 1) {}

MergedOutput::~MergedOutput() {
  if (!unfinished_.empty()) {
    write("\n");
  }
}

void MergedOutput::write_line(std::string_view prefix, std::string_view line) {
  const std::string text = fmt::format("{}{}\n", prefix, line);
  write(unfinished_.empty() ? text : fmt::format("\r\x1b[K{}{}", text, unfinished_));
}

void MergedOutput::show_unfinished(std::string_view text) {
  if (!is_terminal_ || text == unfinished_) {
    return;
  }
  write(fmt::format("\r\x1b[K{}", text));
  unfinished_ = text;
}

// A reader that has gone away is not a reason to end a run.
void MergedOutput::write(const std::string& bytes) const {
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t count = ::write(descriptor_, rest.data(), rest.size());
    if (count < 0) {
      return;
    }
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace halfback
