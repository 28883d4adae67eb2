// A program that runs beside this one and does not outlive it.
//
// It leads a process group of its own. So what it starts ends with it, and this process decides
// whether to pass on Ctrl-C. The kernel kills it when the thread that created it ends, even by
// SIGKILL. Its standard input is empty.
#pragma once

#include <string>
#include <sys/types.h>
#include <vector>

namespace halfback {

class Subprocess {
 public:
  struct Command {
    std::string program;                   // its path
    std::vector<std::string> arguments;    // its name first
    std::vector<std::string> environment;  // NAME=VALUE, added to this process's or replacing them
    bool has_terminal = false;  // its stderr is a terminal of this process's size, not a pipe
  };

  // How it ended; code and signal are 0 before.
  struct End {
    bool has_ended = false;
    int exit_code = 0;
    int signal = 0;  // that ended it, or 0
  };

  // Throws Error if the system has no process or pipe left. A program that cannot be started writes
  // the reason to its stderr and exits with 127.
  explicit Subprocess(const Command& command);
  // Kills it and all that it started, if they still run.
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t id() const { return id_; }

  // Where to read what it writes; reads do not block.
  int output() const { return output_; }
  int error_output() const { return error_output_; }

  // Sends a signal to it and all that it started. Does nothing if it has ended.
  void send(int signal) const;

  // Makes its terminal as large as this process's.
  void resize_terminal() const;

  // Checks, without waiting, whether it has ended. If so, kills what it left running.
  const End& look();
  const End& end() const { return end_; }

 private:
  pid_t id_ = -1;
  int output_ = -1;
  int error_output_ = -1;
  End end_;
};

// Appends what can be read without waiting, at most a block. Returns false when nothing more will
// come.
bool read_available(int descriptor, std::string& bytes);

}  // namespace halfback
