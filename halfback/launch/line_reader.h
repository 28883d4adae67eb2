// Makes lines from bytes that arrive in pieces, so that the output of several programs can be
// merged line by line.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace halfback {

class LineReader {
 public:
  using OnLine = std::function<void(std::string_view)>;

  // Calls `on_line` for every whole line, without its newline. If a line was overwritten from its
  // beginning ('\r', as progress bars do), only its last text counts.
  explicit LineReader(OnLine on_line) : on_line_(std::move(on_line)) {}

  void add(std::string_view bytes);
  // Treats an unfinished line as a whole one.
  void finish();

  // The beginning of an unfinished line.
  std::string_view unfinished() const { return unfinished_; }

 private:
  void keep_last_text();

  OnLine on_line_;
  std::string unfinished_;
};

}  // namespace halfback
