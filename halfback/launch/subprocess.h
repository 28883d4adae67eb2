// A program that runs beside this one and does not outlive it.
//
// It leads a process group of its own. So what it starts ends with it, and this process decides
// whether to pass on Ctrl-C. The kernel kills it when the thread that made it ends, even by
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
    std::vector<std::string> environment;  // NAME=VALUE, added to this process's or instead
    bool has_terminal = false;  // its stderr is a terminal, as large as this process's, no pipe
  };

  // How it ended. Neither is set before.
  struct End {
    bool has_ended = false;
    int exit_code = 0;
    int signal = 0;  // that ended it, or 0
  };

  // Throws Error when the system has no process or pipe left. A program that cannot be started says
  // why on its stderr and ends with 127.
  explicit Subprocess(const Command& command);
  // Kills it and all that it started, if they still run.
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t id() const { return id_; }

  // Where to read what it writes; reads do not block.
  int output() const { return output_; }
  int error_output() const { return error_output_; }

  // Sends a signal to it and all that it started; nothing when it has ended.
  void send(int signal) const;

  // Makes its terminal as large as this process's.
  void resize_terminal() const;

  // Checks whether it has ended, without waiting, and then kills what it left running.
  const End& look();
  const End& end() const { return end_; }

 private:
  pid_t id_ = -1;
  int output_ = -1;
  int error_output_ = -1;
  End end_;
};

// Appends what can be read without waiting, a block at most. Returns false when nothing more will
// come.
bool read_available(int descriptor, std::string& bytes);

}  // namespace halfback
