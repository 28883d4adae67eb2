// A stream of this process that merges the lines of several programs.
#pragma once

#include <string>
#include <string_view>

namespace halfback {

// Writes whole lines, each in one write. On a terminal, one program's unfinished line, such as a
// progress bar, stays beneath them.
class MergedOutput {
 public:
  explicit MergedOutput(int descriptor);
  // Ends the unfinished line.
  ~MergedOutput();
  MergedOutput(const MergedOutput&) = delete;
  MergedOutput& operator=(const MergedOutput&) = delete;

  void write_line(std::string_view prefix, std::string_view line);

  // Shows the unfinished line; an empty text removes it. Does nothing if not on a terminal.
  void show_unfinished(std::string_view text);

 private:
  void write(const std::string& bytes) const;

  int descriptor_;
  bool is_terminal_;
  std::string unfinished_;
};

}  // namespace halfback
